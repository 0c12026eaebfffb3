// What the pages of a run have in common.
const at = id => document.getElementById(id);
let run = JSON.parse(at('run').textContent);

// Text goes into the page as text alone: names and errors come from elsewhere.
const make = (tag, name, text) => {
	const e = document.createElement(tag);
	if (name) e.className = name;
	if (text !== undefined) e.textContent = text;
	return e;
};
const row = cells => {
	const tr = make('tr');
	for (const [label, text, name] of cells) {
		const td = make('td', name, text);
		td.dataset.label = label; // for a screen without room for columns
		tr.append(td);
	}
	return tr;
};
const words = outcome => outcome.replace('_', ' ');
const decided = () => run.applied + run.notApplied + run.unknown;
const total = () => decided() + run.pending;

const duration = seconds => {
	const s = Math.max(0, Math.round(seconds));
	if (s < 60) return s + ' s';
	if (s < 3600) return Math.floor(s / 60) + ' min ' + s % 60 + ' s';
	return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
};

const pace = () => {
	const parts = [decided() + ' of ' + total() + ' decided'];
	if (run.rate > 0) parts.push(run.rate.toFixed(1) + ' a second');
	if (run.live && run.left > 0) parts.push('about ' + duration(run.left) + ' left');
	if (run.live && run.waiting) parts.push('waiting for ' + run.waiting);
	if (run.stopped) parts.push('stopped: ' + run.stopped);
	return parts.join(', ');
};

const bar = () => {
	const parts = [['applied', run.applied], ['not_applied', run.notApplied], ['unknown', run.unknown]];
	const holder = at('bar');
	while (holder.children.length < parts.length) holder.append(make('div'));
	parts.forEach(([name, n], i) => {
		holder.children[i].className = name;
		holder.children[i].style.width = (total() ? 100 * n / total() : 0) + '%';
	});
	holder.setAttribute('aria-valuemax', total());
	holder.setAttribute('aria-valuenow', decided());
	holder.setAttribute('aria-valuetext', decided() + ' of ' + total());
};

const progress = () => {
	for (const [id, n] of [['applied', run.applied], ['not_applied', run.notApplied], ['unknown', run.unknown], ['pending', run.pending], ['refused', run.refused]]) {
		at(id).textContent = n;
	}
	at('pace').textContent = pace();
	bar();
};

// One chart a quota: a bar a window, as high as what was used, in a box as high as what was allowed.
const chart = (quota, list) => {
	const figure = make('figure'), bars = make('div', 'chart');
	const most = Math.max(1, ...list.map(w => Math.max(w.used, w.allowed)));
	for (const w of list) {
		const box = make('div'), used = make('div');
		box.style.height = 100 * Math.max(w.used, w.allowed) / most + '%';
		used.style.height = 100 * w.used / Math.max(1, w.used, w.allowed) + '%';
		box.title = w.used + ' of ' + w.allowed;
		box.append(used);
		bars.append(box);
	}
	const last = list.at(-1);
	figure.append(bars, make('figcaption', '', quota + ': ' + last.used + ' of ' + last.allowed + ' in the last window'));
	return figure;
};
const windows = () => {
	const list = run.windows || [];
	at('windows-section').hidden = list.length === 0;
	const quotas = [...new Set(list.map(w => w.quota))];
	at('charts').replaceChildren(...quotas.map(quota => chart(quota, list.filter(w => w.quota === quota).slice(-60))));
	at('windows').replaceChildren(...list.toReversed().map(w => row([
		['window ends', new Date(w.ends).toLocaleTimeString()], ['quota', w.quota], ['used', w.used], ['allowed', w.allowed], ['429', w.refused]])));
};

const slowest = () => {
	const list = run.slowest || [];
	at('slowest-section').hidden = list.length === 0;
	at('slowest').replaceChildren(...list.map(c => row([
		['token', c.id, 'token'], ['outcome', words(c.outcome), c.outcome], ['seconds', c.seconds.toFixed(1)], ['attempts', c.attempts]])));
};

progress();
windows();
slowest();
