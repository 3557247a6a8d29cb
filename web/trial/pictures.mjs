/** Landscapes to send, painted by a browser: nobody's photos, of any size. And a picture that moves, and a sound. */

/** JPEG (or what `type` says) bytes of a landscape; the same `seed` is the same place. */
export async function landscape(page, { seed = 1, width = 1600, height = 1200, type = 'image/jpeg' } = {}) {
  const base64 = await page.evaluate(async ([seed, width, height, type]) => {
    let state = seed * 2654435761 >>> 0;
    const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32);
    const canvas = new OffscreenCanvas(width, height);
    const c = canvas.getContext('2d');
    const hue = [205, 18, 265, 150, 330, 40][seed % 6];
    const dusk = seed % 2 === 1;
    const sky = c.createLinearGradient(0, 0, 0, height * 0.75);
    sky.addColorStop(0, `hsl(${hue} ${dusk ? 55 : 70}% ${dusk ? 26 : 52}%)`);
    sky.addColorStop(0.6, `hsl(${hue + 25} 72% ${dusk ? 58 : 78}%)`);
    sky.addColorStop(1, `hsl(${(hue + 50) % 360} 90% ${dusk ? 74 : 90}%)`);
    c.fillStyle = sky;
    c.fillRect(0, 0, width, height);
    const sun = { x: width * (0.25 + random() * 0.5), y: height * (0.3 + random() * 0.15), r: Math.min(width, height) * 0.07 };
    const glow = c.createRadialGradient(sun.x, sun.y, 0, sun.x, sun.y, sun.r * 7);
    glow.addColorStop(0, 'rgb(255 246 214 / 90%)');
    glow.addColorStop(0.14, 'rgb(255 236 190 / 55%)');
    glow.addColorStop(1, 'rgb(255 220 170 / 0%)');
    c.fillStyle = glow;
    c.fillRect(0, 0, width, height);
    c.fillStyle = 'rgb(255 250 232)';
    c.beginPath();
    c.arc(sun.x, sun.y, sun.r, 0, 7);
    c.fill();
    const water = height * 0.78;
    for (let layer = 0; layer < 5; layer++) {
      const base = height * (0.48 + layer * 0.075);
      const rough = height * (0.16 - layer * 0.018);
      const waves = Array.from({ length: 7 }, (_, i) => ({ f: (i * 1.7 + 1.2 + random()) * 3.1, p: random() * 7, a: rough / (i + 1.6) }));
      c.fillStyle = `hsl(${hue + 12 - layer * 6} ${30 + layer * 6}% ${(dusk ? 50 : 62) - layer * 10}%)`;
      c.beginPath();
      c.moveTo(0, height);
      for (let x = 0; x <= width; x += 2) c.lineTo(x, base - waves.reduce((sum, w) => sum + w.a * Math.abs(Math.sin((x / width) * w.f + w.p)), 0));
      c.lineTo(width, height);
      c.fill();
    }
    const lake = c.createLinearGradient(0, water, 0, height);
    lake.addColorStop(0, `hsl(${hue + 20} 55% ${dusk ? 52 : 72}%)`);
    lake.addColorStop(1, `hsl(${hue} 55% ${dusk ? 16 : 34}%)`);
    c.fillStyle = lake;
    c.fillRect(0, water, width, height);
    for (let i = 0; i < 260; i++) {
      const y = water + random() ** 1.6 * (height - water);
      const near = (y - water) / (height - water);
      const spread = sun.r * (1 + near * 5);
      c.fillStyle = `rgb(255 244 214 / ${0.1 + random() * 0.35})`;
      c.fillRect(sun.x + (random() - 0.5) * spread * 2, y, 12 + random() * width * 0.03 * (1 + near * 2), 1 + near * 4);
    }
    const { data } = c.getImageData(0, 0, width, height);
    for (let i = 0; i < data.length; i += 4) {
      const grain = (random() - 0.5) * 9;
      for (let k = 0; k < 3; k++) data[i + k] += grain;
    }
    c.putImageData(new ImageData(data, width, height), 0, 0);
    const blob = await canvas.convertToBlob({ type, quality: 0.92 });
    const reader = new FileReader();
    await new Promise((done) => { reader.onload = done; reader.readAsDataURL(blob); });
    return reader.result.split(',')[1];
  }, [seed, width, height, type]);
  return Buffer.from(base64, 'base64');
}

/** A GIF of `frames` pictures: a ball that rolls. Uncompressed codes, so that nothing has to be known about LZW but its frame. */
export function movingGif(size = 220, frames = 16) {
  const colours = [[28, 32, 52], [255, 209, 102], [91, 75, 224], [236, 238, 246]];
  const out = [Buffer.from('GIF89a'), Buffer.from([size & 255, size >> 8, size & 255, size >> 8, 0xf6, 0, 0])];
  out.push(Buffer.from(Array.from({ length: 128 }, (_, i) => colours[i % 4]).flat()));
  out.push(Buffer.from([0x21, 0xff, 11, ...Buffer.from('NETSCAPE2.0'), 3, 1, 0, 0, 0]));
  for (let frame = 0; frame < frames; frame++) {
    const turn = (frame / frames) * Math.PI * 2;
    const ball = { x: size / 2 + Math.cos(turn) * size * 0.28, y: size / 2 + Math.sin(turn) * size * 0.28 };
    out.push(Buffer.from([0x21, 0xf9, 4, 0, 8, 0, 0, 0, 0x2c, 0, 0, 0, 0, size & 255, size >> 8, size & 255, size >> 8, 0, 7]));
    const bytes = [];
    for (let i = 0; i < size * size; i++) {
      // A clear code before the table grows keeps every code eight bits long.
      if (i % 120 === 0) bytes.push(128);
      const [x, y] = [i % size, Math.floor(i / size)];
      const distance = Math.hypot(x - ball.x, y - ball.y);
      const ring = Math.abs(Math.hypot(x - size / 2, y - size / 2) - size * 0.28) < 1.2;
      bytes.push(distance < size * 0.12 ? 1 : distance < size * 0.15 ? 3 : ring ? 2 : 0);
    }
    bytes.push(129);
    for (let i = 0; i < bytes.length; i += 255) out.push(Buffer.from([Math.min(255, bytes.length - i), ...bytes.slice(i, i + 255)]));
    out.push(Buffer.from([0]));
  }
  out.push(Buffer.from([0x3b]));
  return Buffer.concat(out);
}
