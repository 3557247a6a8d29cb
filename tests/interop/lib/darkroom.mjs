// Makes pictures and looks at them with Chromium: its encoders make the test's photos, its decoders are the referee.

/** What each corner of the scene shows, clockwise from the top left. */
export const UPRIGHT = ['red', 'green', 'blue', 'yellow'];

export class Darkroom {
  static async open(browser) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.evaluate(setUp);
    return new Darkroom(page);
  }

  constructor(page) {
    this.page = page;
  }

  /**
   * A scene of `width` × `height` with a colour in each corner and `detail` shapes over it, as JPEG, PNG or WebP, stored the
   * way that a camera held as `orientation` (EXIF's 1–8) says stores it. `seed` makes another one.
   */
  async make({ width, height, type = 'image/jpeg', quality = 0.9, orientation = 1, detail = 200, seed = 1, alpha = false }) {
    const base64 = await this.page.evaluate((all) => window.darkroom.make(all), { width, height, type, quality, orientation, detail, seed, alpha });
    return Buffer.from(base64, 'base64');
  }

  /** Size, corners, and opacity in the middle, of a picture as Chromium shows it: turned as its EXIF says, if it has any. */
  look(bytes) {
    return this.page.evaluate((all) => window.darkroom.look(all), bytes.toString('base64'));
  }

  async close() {
    await this.page.context().close();
  }
}

/** Runs in the page. */
function setUp() {
  const COLOURS = { red: [220, 40, 40], green: [40, 180, 60], blue: [40, 70, 220], yellow: [235, 210, 50] };

  function scene(width, height, detail, seed, alpha) {
    const canvas = new OffscreenCanvas(width, height);
    const draw = canvas.getContext('2d');
    let state = seed >>> 0;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 4294967296;
    };
    const corners = [['red', 0, 0], ['green', 1, 0], ['blue', 1, 1], ['yellow', 0, 1]];
    for (const [colour, x, y] of corners) {
      draw.fillStyle = `rgb(${COLOURS[colour]})`;
      draw.fillRect((x * width) / 2, (y * height) / 2, width / 2, height / 2);
    }
    // Along the middle, so that the corners keep their colours.
    for (let n = 0; n < detail; n += 1) {
      draw.fillStyle = `hsl(${random() * 360} ${random() * 100}% ${random() * 100}% / ${0.3 + random() * 0.7})`;
      draw.beginPath();
      draw.ellipse(width / 2 + (random() - 0.5) * width * 0.2, random() * height, random() * width * 0.06 + 1, random() * height * 0.06 + 1, random() * 3, 0, 7);
      draw.fill();
    }
    if (alpha) draw.clearRect(width * 0.45, height * 0.45, width * 0.1, height * 0.1);
    return canvas;
  }

  /** From where a pixel is stored to where it is shown (EXIF 2.32 §4.6.4 A, `Orientation`), for a stored w × h. */
  const shown = (w, h) => [
    [1, 0, 0, 1, 0, 0], [-1, 0, 0, 1, w, 0], [-1, 0, 0, -1, w, h], [1, 0, 0, -1, 0, h],
    [0, 1, 1, 0, 0, 0], [0, 1, -1, 0, h, 0], [0, -1, -1, 0, h, w], [0, -1, 1, 0, 0, w],
  ];

  async function make({ width, height, type, quality, orientation, detail, seed, alpha }) {
    const upright = scene(width, height, detail, seed, alpha);
    const [w, h] = orientation >= 5 ? [height, width] : [width, height];
    const stored = new OffscreenCanvas(w, h);
    const draw = stored.getContext('2d');
    draw.setTransform(new DOMMatrix(shown(w, h)[orientation - 1]).inverse());
    draw.drawImage(upright, 0, 0);
    const blob = await stored.convertToBlob({ type, quality });
    if (blob.type !== type) throw new Error(`${type} became ${blob.type}`);
    const url = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(blob);
    });
    return url.slice(url.indexOf(',') + 1);
  }

  function nameOf(rgb) {
    const far = (colour) => colour.reduce((sum, part, i) => sum + Math.abs(part - rgb[i]), 0);
    const [name, colour] = Object.entries(COLOURS).sort(([, a], [, b]) => far(a) - far(b))[0];
    return far(colour) < 60 ? name : `rgb(${rgb})`;
  }

  async function look(base64) {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]));
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const draw = canvas.getContext('2d');
    draw.drawImage(bitmap, 0, 0);
    const at = (x, y) => [...draw.getImageData(Math.floor(x * width), Math.floor(y * height), 1, 1).data];
    const corners = [at(0.15, 0.15), at(0.85, 0.15), at(0.85, 0.85), at(0.15, 0.85)].map((pixel) => nameOf(pixel.slice(0, 3)));
    return { width, height, corners, alpha: at(0.5, 0.5)[3] };
  }

  window.darkroom = { make, look };
}
