// The page: served by the server itself, and logged in by a link.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Person, openBrowser } from './lib/people.mjs';
import { Server, until } from './lib/server.mjs';

test('the page', { timeout: 120_000 }, async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const browser = await openBrowser();
  t.after(() => browser.close());

  await t.test('is served with headers that keep it safe', async () => {
    const response = await fetch(server.url);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/html/);
    assert.match(response.headers.get('content-security-policy'), /default-src 'none'/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
  });

  await t.test('logs in by a link, without a word in the console, and leaves no token in the address', async () => {
    const alice = await Person.open(browser, server, 'alice');
    assert.equal(new URL(alice.page.url()).hash, '');
    assert.deepEqual(alice.problems, []);
    await alice.close();
  });

  await t.test('carries a message from one person to another', async () => {
    await server.conversation(['alice', 'bob']);
    const alice = await Person.open(browser, server, 'alice');
    const bob = await Person.open(browser, server, 'bob');
    await alice.openConversation('bob');
    await alice.page.getByRole('textbox', { name: 'Message' }).fill('Hello, Bob!');
    await alice.press('Send');
    await bob.openConversation('alice');
    await bob.page.getByRole('log', { name: 'Messages' }).getByText('Hello, Bob!').waitFor();
    assert.deepEqual([...alice.problems, ...bob.problems], []);
    await Promise.all([alice.close(), bob.close()]);
  });

  await t.test('is told bye and connects again when the server stops and starts', async () => {
    const own = await Server.start();
    const carol = await Person.open(browser, own, 'carol');
    assert.equal(await own.stop(), 0, 'a stopped server exits with 0');
    await until('carol sees that the connection is lost', () => carol.page.evaluate(() => window.trunkline.session.state !== 'online'));
    await carol.close();
  });
});
