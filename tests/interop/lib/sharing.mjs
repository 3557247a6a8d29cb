// What people do with photos, voice notes and files at the page.

/** Drops files onto the conversation that is open, as from a folder beside the browser. */
export async function drop(person, files) {
  const transfer = await person.page.evaluateHandle((all) => {
    const data = new DataTransfer();
    for (const { name, mimeType, base64 } of all) {
      const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
      data.items.add(new File([bytes], name, { type: mimeType }));
    }
    return data;
  }, files.map(({ name, mimeType, buffer }) => ({ name, mimeType, base64: buffer.toString('base64') })));
  const log = person.page.getByRole('log', { name: 'Messages' });
  for (const type of ['dragenter', 'dragover', 'drop']) await log.dispatchEvent(type, { dataTransfer: transfer });
}

/** Chooses files with the paper clip. */
export async function choose(person, files) {
  await person.page.getByTestId('attach').setInputFiles(files);
}

/** What stands in the thread for attachments of a kind, in a state if one is named. */
export function shown(person, kind, state) {
  return person.page.locator(`.log [data-attachment][data-kind="${kind}"]${state ? `[data-state="${state}"]` : ''}`);
}

/** The newest attachment that a person's device knows of, as its messages have it. */
export function newestAttachment(person, conv) {
  return person.page.evaluate((id) => {
    const { messages } = window.trunkline.session.conversations.get(id);
    return messages.flatMap((message) => message.attachments ?? []).at(-1);
  }, conv);
}

/** A thumbnail's picture: natural size, and its box on the screen. */
export function pictureIn(box, selector = 'img.photo-over') {
  return box.locator(selector).evaluate((image) => {
    const { width, height } = image.getBoundingClientRect();
    return { natural: [image.naturalWidth, image.naturalHeight], box: [width, height], src: image.currentSrc.slice(0, 60) };
  });
}
