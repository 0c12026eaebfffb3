package redact

import (
	"encoding/base64"
	"math/bits"
	"slices"
	"strings"
)

// runLength is how many characters of a credential in a row must not be shown. Eight
// fit into a uint64.
const runLength = 8

// parts are the parts of credentials to hide, folded.
type parts struct {
	runs  []uint64 // those of runLength characters: a hash table, with 0 for a free place
	short []run    // shorter ones: unescaped, or all of a short credential
}

// run is the last characters of a text, folded.
type run struct {
	chars  uint64
	length int
}

func (r *run) push(c byte) { r.chars, r.length = r.chars<<8|uint64(folded[c]), r.length+1 }

// folded has each byte in lower case, and the digits of base64 for URLs as those of
// standard base64.
var folded = func() (folded [256]byte) {
	for c := range folded {
		folded[c] = byte(c)
	}
	for c := byte('A'); c <= 'Z'; c++ {
		folded[c] = c + 'a' - 'A'
	}
	folded['-'], folded['_'] = '+', '/'
	return folded
}()

// partsOf returns the parts of credentials: as they are; unescaped, since a search also
// unescapes what only looks like an escape in a credential; and in base64.
func partsOf(secrets []string) *parts {
	const most = 6 // runs for each character of a credential
	p := &parts{runs: make([]uint64, 1<<bits.Len(uint(2*most*len(strings.Join(secrets, "")))))}
	for _, secret := range secrets {
		for end := min(runLength, len(secret)); end <= len(secret); end++ {
			for r := range readings(secret[max(0, end-runLength):end]) {
				p.add(r.text)
			}
		}
		if len(secret) >= runLength { // what is shorter would be found by chance
			p.addBase64(secret)
		}
	}
	return p
}

// addBase64 adds the certain runs of base64 digits of a credential, after none, one or two other
// bytes.
func (p *parts) addBase64(secret string) {
	for before := range 3 {
		digits := base64.RawStdEncoding.EncodeToString([]byte("  "[:before] + secret))
		begin, end := (8*before+5)/6, 8*(before+len(secret))/6
		for ; begin+runLength <= end; begin++ {
			p.add(digits[begin : begin+runLength])
		}
	}
}

func (p *parts) add(text string) {
	var r run
	for _, c := range []byte(text) {
		r.push(c)
	}
	if r.length == runLength {
		p.runs[p.find(r.chars)] = r.chars
	} else if !slices.Contains(p.short, r) {
		p.short = append(p.short, r)
	}
}

// find returns the index of a run in the table, or of its free place.
func (p *parts) find(chars uint64) uint64 {
	last := uint64(len(p.runs) - 1)
	i := chars * 0x9e3779b97f4a7c15 >> 32 & last
	for p.runs[i] != chars && p.runs[i] != 0 {
		i = (i + 1) & last
	}
	return i
}

func (p *parts) isRun(chars uint64) bool { return chars != 0 && p.runs[p.find(chars)] == chars }

// search hides the parts found in a reading of a text.
func (p *parts) search(r reading, hidden *mask) {
	var last run
	for i := range len(r.text) {
		last.push(r.text[i])
		if p.isRun(last.chars) {
			hidden.hide(r, i+1-runLength, i+1)
		}
		for _, short := range p.short {
			if last.length >= short.length && last.chars&(1<<(8*short.length)-1) == short.chars {
				hidden.hide(r, i+1-short.length, i+1)
			}
		}
	}
	p.searchHex(r, hidden)
}

// searchHex searches hexadecimal digits. Between digits there may be "0x" and anything except
// letters.
func (p *parts) searchHex(r reading, hidden *mask) {
	for i := 0; i+hexLength <= len(r.text); {
		letter := i + hexLength - 1
		for letter >= i && hexDigits[r.text[letter]] != otherLetter {
			letter--
		}
		if letter >= i { // as in most text: nothing in front of it is long enough
			i = letter + 1
		} else {
			i = p.searchDigits(r, i, hidden)
		}
	}
}

const hexLength = 2 * runLength

// searchDigits searches hexadecimal digits from i up to another letter, and returns its index.
func (p *parts) searchDigits(r reading, i int, hidden *mask) int {
	var last uint64
	var at [hexLength]int // indexes of the last digits
	digits := 0
	for ; i < len(r.text) && hexDigits[r.text[i]] != otherLetter; i++ {
		digit := hexDigits[r.text[i]]
		if digit == separator || digit == 0 && i+1 < len(r.text) && folded[r.text[i+1]] == 'x' {
			continue
		}
		last, at[digits%hexLength] = last<<4|uint64(digit), i
		if digits++; digits >= hexLength && p.isRunOf(last) {
			hidden.hide(r, at[digits%hexLength], i+1)
		}
	}
	return i
}

// isRunOf is isRun for eight decoded bytes.
func (p *parts) isRunOf(bytes uint64) bool {
	if bytes&0x8080808080808080 != 0 {
		return false // not ASCII: most digits end here
	}
	var r run
	for shift := 56; shift >= 0; shift -= 8 {
		r.push(byte(bytes >> shift))
	}
	return p.isRun(r.chars)
}

const otherLetter, separator = 16, 17

// hexDigits has the value of each hexadecimal digit.
var hexDigits = func() (digits [256]byte) {
	for c := range digits {
		digits[c] = separator
	}
	for value, c := range []byte("0123456789abcdefghijklmnopqrstuvwxyz") {
		digits[c] = byte(min(value, otherLetter))
	}
	digits['x'] = separator
	for c := byte('A'); c <= 'Z'; c++ {
		digits[c] = digits[folded[c]]
	}
	return digits
}()
