// Find, choose and sort the tokens of a plan or a report.
const list = (() => {
	const by = id => document.getElementById(id);
	const rows = [...by('rows').children].map((row, order) => ({
		row, order, text: row.textContent.toLowerCase(), state: row.dataset.state, when: row.dataset.when || '',
		name: (row.querySelector('b') || { textContent: '' }).textContent, id: row.querySelector('code').textContent,
	}));

	const show = () => {
		const text = by('find').value.toLowerCase(), state = by('only').value;
		let shown = 0;
		for (const r of rows) {
			r.row.hidden = !(r.text.includes(text) && (state === '' || r.state === state));
			if (!r.row.hidden) shown++;
		}
		by('shown').textContent = shown + ' of ' + rows.length + ' shown';
	};

	const collator = new Intl.Collator('en', { numeric: true });
	const sort = () => {
		const key = by('sort').value || 'order';
		const compare = key === 'order' ? (a, b) => a.order - b.order : (a, b) => collator.compare(a[key], b[key]) || a.order - b.order;
		by('rows').append(...rows.toSorted(compare).map(r => r.row));
	};

	for (const link of document.querySelectorAll('a[data-find]')) {
		link.addEventListener('click', () => {
			by('only').value = '';
			by('find').value = link.dataset.find;
			show();
		});
	}
	by('find').addEventListener('input', show);
	by('only').addEventListener('change', show);
	by('sort').addEventListener('change', sort);
	by('tools').hidden = false;
	show();
})();
