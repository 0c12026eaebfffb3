'use strict';
(() => {
	const at = id => document.getElementById(id);
	const all = JSON.parse(at('data').textContent);
	const step = 200; // rows that are added to the page at once

	// Text goes into the page as text alone: names and evidence come from elsewhere.
	const make = (tag, name, text) => {
		const e = document.createElement(tag);
		if (name) e.className = name;
		if (text !== undefined) e.textContent = text;
		return e;
	};
	const day = time => (time || '').slice(0, 10);
	const ranks = ['low', 'medium', 'high'];
	const compared = all.some(f => f.state);

	const columns = [
		['severity', f => ranks.indexOf(f.severity)],
		['rule', f => f.rule],
		['token', f => (f.name || '').toLowerCase()],
		['owner', f => f.owner || ''],
		['since', f => f.since || ''],
		['evidence', f => f.evidence],
		['change', f => f.suggestion || ''],
	];
	if (compared) columns.push(['found', f => f.state === 'same' ? f.firstSeen : f.state]);

	let sorted = 'severity', down = true, limit = step;

	const cell = (name, text, label) => {
		const td = make('td', name, text);
		if (label) td.dataset.name = label;
		return td;
	};
	const row = f => {
		const tr = make('tr'), token = cell('token', f.name || (f.id ? 'no name' : 'the account'));
		if (f.id) token.append(make('span', 'id', f.id));
		const evidence = cell('evidence', f.evidence);
		if (f.exception) evidence.append(make('span', 'quiet', ' – accepted until ' + day(f.exception.until) + ': ' + f.exception.reason));
		tr.append(cell(f.severity, f.severity), cell('word', f.rule), token, cell('owner', f.owner || '', 'owner'), cell('word', day(f.since), 'since'),
			evidence, cell('word', f.suggestion || '', 'change'));
		if (compared) tr.append(cell('word', f.state === 'same' ? day(f.firstSeen) : f.state, 'found'));
		return tr;
	};

	const shows = {
		open: f => !f.exception && f.state !== 'gone',
		new: f => !f.exception && f.state === 'new',
		gone: f => f.state === 'gone',
		excepted: f => f.exception,
		everything: () => true,
	};
	const found = () => {
		const wanted = at('filter').value.toLowerCase(), rule = at('rule').value, shown = shows[at('show').value];
		return all.filter(f => shown(f) && (!rule || f.rule === rule)
			&& [f.severity, f.rule, f.id, f.name, f.owner, f.evidence, f.suggestion].join(' ').toLowerCase().includes(wanted));
	};
	const order = list => {
		const key = columns.find(c => c[0] === sorted)[1];
		return list.map((f, i) => [key(f), i, f])
			.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (down ? -1 : 1) || a[1] - b[1]).map(e => e[2]);
	};

	const draw = () => {
		const list = order(found());
		at('findings').replaceChildren(...list.slice(0, limit).map(row));
		at('shown').textContent = Math.min(limit, list.length) + ' of ' + list.length + ' findings shown';
		at('more').hidden = list.length <= limit;
		for (const th of at('columns').children) {
			th.removeAttribute('aria-sort');
			if (th.dataset.column === sorted) th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
		}
	};
	const restart = () => { limit = step; draw(); };
	const option = (select, value, text) => {
		const o = make('option', '', text || value);
		o.value = value;
		at(select).append(o);
	};

	for (const [name] of columns) {
		const th = make('th'), button = make('button', '', name);
		th.scope = 'col';
		th.dataset.column = name;
		button.type = 'button';
		button.addEventListener('click', () => {
			down = sorted === name ? !down : name === 'severity';
			sorted = name;
			restart();
		});
		th.append(button);
		at('columns').append(th);
	}
	for (const rule of new Set(all.map(f => f.rule))) option('rule', rule);
	if (compared) { option('show', 'new'); option('show', 'gone'); }
	if (all.some(f => f.exception)) option('show', 'excepted');
	if (at('show').options.length > 1) option('show', 'everything');
	for (const button of document.querySelectorAll('button.rule')) {
		button.addEventListener('click', () => {
			at('rule').value = button.dataset.rule;
			restart();
			at('findings-title').scrollIntoView();
		});
	}
	at('filter').addEventListener('input', restart);
	at('rule').addEventListener('change', restart);
	at('show').addEventListener('change', restart);
	at('more').addEventListener('click', () => { limit += step; draw(); });
	at('findings-section').hidden = all.length === 0;
	draw();
})();
