package repository

import (
	"fmt"
	"go/ast"
	"go/doc"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const (
	longestSentence = 35 // words, in a document
	longestComment  = 12 // lines, of an exported name
	longestOpening  = 35 // words, of the first sentence of an exported name's comment
	mostThat        = 14 // in a thousand words of comments
	mostWhere       = 2
)

// hardWords are to be replaced by plain ones.
var hardWords = map[*regexp.Regexp]string{
	regexp.MustCompile(`(?i)\bwhat (became|becomes) of\b`):                                                         "the outcome of",
	regexp.MustCompile(`(?i)\b(says|tells|said) that\b`):                                                           "reports",
	regexp.MustCompile(`(?i)\b(goes on|sees to it|takes in)\b`):                                                    "a plain verb",
	regexp.MustCompile(`(?i)\bso that\b`):                                                                          "so",
	regexp.MustCompile(`(?i)(, |; |: |\. |^)where (it|they|that|there|the|a|an|no|not|nothing|one|somebody|its) `): "if",
}

// Documents use plain words and short sentences.
func TestDocumentsArePlain(t *testing.T) {
	for _, name := range filesNamed(t, func(name string) bool { return strings.HasSuffix(name, ".md") }) {
		for _, paragraph := range prose(text(t, name)) {
			checkWords(t, name, paragraph)
			for _, sentence := range sentences(paragraph) {
				words := len(strings.Fields(sentence))
				assert.LessOrEqual(t, words, longestSentence, "%s: a sentence of %d words: %q", name, words, sentence)
			}
		}
	}
}

// Comments use plain words, in all modules.
func TestCommentsArePlain(t *testing.T) {
	words, that, where := 0, 0, 0
	for _, file := range goFiles(t) {
		for _, group := range file.Comments {
			comment := strings.Join(strings.Fields(group.Text()), " ")
			checkWords(t, file.at(group.Pos()), comment)
			for _, word := range regexp.MustCompile(`[A-Za-z']+`).FindAllString(strings.ToLower(comment), -1) {
				words++
				switch word {
				case "that":
					that++
				case "where":
					where++
				}
			}
		}
	}
	if !isWhole() {
		return // a part of the tree has too few words for a share
	}
	assert.LessOrEqual(t, 1000*that, mostThat*words, "'that' %d times in %d words of comments", that, words)
	assert.LessOrEqual(t, 1000*where, mostWhere*words, "'where' %d times in %d words of comments: write 'if' for a condition", where, words)
}

// The comment of an exported name starts with a short sentence, and leaves details to the package's comment or to docs/.
func TestExportedCommentsAreShort(t *testing.T) {
	folders := []string{".", "tokenpatchtest"}
	if isWhole() {
		folders = append(folders, "tokenpatchotel", "tokenpatchredis", "fleet", "fleet/fleetotel")
	}
	for _, folder := range folders {
		for _, file := range goFiles(t) {
			if file.folder() != folder || file.isTest() {
				continue
			}
			ast.Inspect(file.File, func(node ast.Node) bool {
				name, comment := documentedName(node)
				if comment == nil || !ast.IsExported(name) {
					return true
				}
				lines := file.fset.Position(comment.End()).Line - file.fset.Position(comment.Pos()).Line + 1
				assert.LessOrEqual(t, lines, longestComment, "%s: a comment of %d lines", file.at(comment.Pos()), lines)
				opening := strings.Fields(new(doc.Package).Synopsis(comment.Text()))
				assert.LessOrEqual(t, len(opening), longestOpening, "%s: %q", file.at(comment.Pos()), strings.Join(opening, " "))
				return true
			})
		}
	}
}

// documentedName returns the name and the comment of a declaration, a field or a method.
func documentedName(node ast.Node) (string, *ast.CommentGroup) {
	switch n := node.(type) {
	case *ast.FuncDecl:
		return n.Name.Name, n.Doc
	case *ast.GenDecl:
		if spec, ok := n.Specs[0].(*ast.TypeSpec); ok && len(n.Specs) == 1 {
			return spec.Name.Name, n.Doc
		}
	case *ast.TypeSpec:
		return n.Name.Name, n.Doc
	case *ast.ValueSpec:
		return n.Names[0].Name, n.Doc
	case *ast.Field:
		if len(n.Names) > 0 {
			return n.Names[0].Name, n.Doc
		}
	}
	return "", nil
}

func checkWords(t *testing.T, at, text string) {
	for hard, plain := range hardWords {
		if found := hard.FindString(text); found != "" {
			assert.Fail(t, fmt.Sprintf("%s: %q: write %s, in %q", at, strings.TrimSpace(found), plain, text))
		}
	}
}

// prose lists the paragraphs and list items of a document, without blocks, tables and addresses of links.
func prose(document string) (paragraphs []string) {
	fenced, current := false, ""
	end := func() {
		if current != "" {
			paragraphs = append(paragraphs, strings.TrimSpace(regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(current, "]")))
		}
		current = ""
	}
	for line := range strings.Lines(document) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			fenced = !fenced
			end()
		case fenced, trimmed == "", strings.HasPrefix(trimmed, "|"), strings.HasPrefix(trimmed, "#"), strings.HasPrefix(trimmed, "!["):
			end()
		case regexp.MustCompile(`^([-*]|\d+\.) `).MatchString(trimmed):
			end()
			_, current, _ = strings.Cut(trimmed, " ")
		default:
			current += " " + trimmed
		}
	}
	end()
	return paragraphs
}

// sentences splits a paragraph.
func sentences(paragraph string) []string {
	return regexp.MustCompile(`[.!?][)*”]* `).Split(paragraph, -1)
}
