'use strict';
(() => {
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
		for (const [name, text] of cells) tr.append(make('td', name, text));
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

	let spokenAt = -Infinity;
	const speak = now => {
		if (run.live && performance.now() - spokenAt < 15000 && !now) return;
		spokenAt = performance.now();
		at('spoken').textContent = pace() + '. ' + run.applied + ' applied, ' + run.notApplied + ' not applied, ' + run.unknown + ' unknown.';
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
		at('name').textContent = run.name;
		at('applied').textContent = run.applied;
		at('not_applied').textContent = run.notApplied;
		at('unknown').textContent = run.unknown;
		at('pending').textContent = run.pending;
		at('refused').textContent = run.refused;
		at('pace').textContent = pace();
		document.title = (run.live ? Math.floor(100 * decided() / (total() || 1)) + ' % – ' : '') + run.name + ' – tokenpatch';
		bar();
		speak(false);
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
			['', new Date(w.ends).toLocaleTimeString()], ['', w.quota], ['', w.used], ['', w.allowed], ['', w.refused]])));
	};

	const found = () => {
		const wanted = at('filter').value.toLowerCase();
		return (run.failures || []).filter(c => [c.id, c.api, words(c.outcome), c.status, c.code, c.error].join(' ').toLowerCase().includes(wanted));
	};
	const failures = () => {
		const all = run.failures || [], list = found();
		at('no-failures').hidden = all.length > 0;
		at('failures-section').hidden = all.length === 0;
		at('failures').replaceChildren(...list.map(c => row([
			['token', c.id], [c.outcome, words(c.outcome)], ['', c.status || 'none'], ['', c.attempts], ['error', c.error]])));
		const more = run.notApplied + run.unknown - all.length;
		at('shown').textContent = list.length + ' of ' + all.length + ' shown' + (more > 0 ? '; ' + more + ' more are in the report as CSV' : '');
	};

	const slowest = () => {
		const list = run.slowest || [];
		at('slowest-section').hidden = list.length === 0;
		at('slowest').replaceChildren(...list.map(c => row([
			['token', c.id], [c.outcome, words(c.outcome)], ['', c.seconds.toFixed(1)], ['', c.attempts]])));
	};

	const copy = async () => {
		const text = found().map(c => [c.api, c.id, c.outcome, c.status || '', c.code, c.error.replace(/\s+/g, ' ')].join('\t')).join('\n');
		try {
			await navigator.clipboard.writeText(text);
			at('shown').textContent = 'copied';
		} catch {
			at('shown').textContent = 'the browser does not let this page copy: select the table instead';
		}
	};

	const end = text => {
		at('state').textContent = text;
		speak(true);
	};
	const listen = () => {
		const events = new EventSource('events');
		events.addEventListener('run', e => {
			run = Object.assign(JSON.parse(e.data), { failures: run.failures });
			at('state').textContent = run.live ? 'running' : 'ended';
			progress(); windows(); slowest();
			if (!run.live) { events.close(); end('ended ' + new Date().toLocaleTimeString()); }
		});
		events.addEventListener('failures', e => { run.failures = JSON.parse(e.data); failures(); });
		events.addEventListener('error', () => { at('state').textContent = 'not connected: as of ' + new Date().toLocaleTimeString(); });
	};

	at('filter').addEventListener('input', failures);
	at('copy').addEventListener('click', copy);
	progress(); windows(); failures(); slowest();
	if (run.live) listen();
})();
