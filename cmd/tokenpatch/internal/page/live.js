// The page of a run while it lasts.
let spokenAt = -Infinity;
const speak = now => {
	if (run.live && performance.now() - spokenAt < 15000 && !now) return;
	spokenAt = performance.now();
	at('spoken').textContent = pace() + '. ' + run.applied + ' applied, ' + run.notApplied + ' not applied, ' + run.unknown + ' unknown.';
};

const title = () => {
	at('name').textContent = run.name;
	document.title = (run.live ? Math.floor(100 * decided() / (total() || 1)) + ' % – ' : '') + run.name + ' – tokenpatch';
	speak(false);
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
		['token', c.id, 'token'], ['outcome', words(c.outcome), c.outcome], ['status', c.status || 'none'], ['attempts', c.attempts], ['error', c.error, 'error']])));
	const more = run.notApplied + run.unknown - all.length;
	at('shown').textContent = list.length + ' of ' + all.length + ' shown' + (more > 0 ? '; ' + more + ' more are in the report as CSV' : '');
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
		progress();
		title();
		windows();
		slowest();
		if (!run.live) {
			events.close();
			end('the run is over: ended ' + new Date().toLocaleTimeString());
		}
	});
	events.addEventListener('failures', e => { run.failures = JSON.parse(e.data); failures(); });
	events.addEventListener('error', () => { at('state').textContent = 'not connected: as of ' + new Date().toLocaleTimeString(); });
};

at('filter').addEventListener('input', failures);
at('copy').addEventListener('click', copy);
title();
failures();
if (run.live) listen();
