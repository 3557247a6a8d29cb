// docs/uploads.md is held: its shell example runs as it stands there, and its TypeScript is TypeScript.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Darkroom, UPRIGHT } from './lib/darkroom.mjs';
import { openBrowser } from './lib/people.mjs';
import { Server } from './lib/server.mjs';

const run = promisify(execFile);
const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** The first fenced block of a language. */
function block(text, language) {
  const found = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'ms').exec(text);
  assert.ok(found, `there is a block of ${language}`);
  return found[1];
}

test('docs/uploads.md', { timeout: 90_000 }, async (t) => {
  const text = await readFile(root('docs/uploads.md'), 'utf8');
  const folder = await mkdtemp(join(tmpdir(), 'trunkline-docs-'));
  t.after(() => rm(folder, { recursive: true }));

  await t.test('its shell example sends a photo, and the thumbnail comes', async () => {
    const server = await Server.start();
    t.after(() => server.stop());
    const browser = await openBrowser();
    t.after(() => browser.close());
    const darkroom = await Darkroom.open(browser);
    await writeFile(join(folder, 'фото.jpg'), await darkroom.make({ width: 1_600, height: 1_200, detail: 500 }));
    await writeFile(join(folder, 'example.sh'), block(text, 'sh'));
    const env = { ...process.env, SERVER: server.url, FILE: 'фото.jpg', ALICE: await server.token('alice'), BOB: await server.token('bob') };
    const { stderr } = await run('bash', ['-euo', 'pipefail', 'example.sh'], { cwd: folder, env, timeout: 60_000 });
    assert.equal(stderr, '');

    const seen = await darkroom.look(await readFile(join(folder, 'thumbnail.jpg')));
    assert.deepEqual([seen.width, seen.height, seen.corners], [320, 240, UPRIGHT]);
    const conv = await server.conversation(['alice', 'bob']);
    const [message] = await server.messages('bob', conv);
    assert.equal(message.user, 'alice');
    assert.equal(message.attachments[0].name, 'фото.jpg');
    assert.equal(message.attachments[0].kind, 'photo');
  });

  await t.test('its TypeScript is right about the SDK', async () => {
    // The names that a page would have.
    const around = `import type { Attachment, Conversation } from '@trunkline/sdk';
declare const token: string, conversation: Conversation, attachment: Attachment;
declare const input: HTMLInputElement, bar: HTMLProgressElement, label: HTMLElement;
`;
    await writeFile(join(folder, 'example.ts'), around + block(text, 'ts'));
    await mkdir(join(folder, 'node_modules/@trunkline'), { recursive: true });
    await symlink(root('web/sdk'), join(folder, 'node_modules/@trunkline/sdk'));
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--module', 'nodenext', '--lib', 'es2023,dom,dom.iterable', '--types', ''];
    const check = run(process.execPath, [root('web/node_modules/typescript/bin/tsc'), ...options, 'example.ts'], { cwd: folder });
    await check.catch(({ stdout }) => assert.fail(stdout));
  });
});
