// Metadata as cameras and programs write it, put into pictures, and what of it a picture has.
import { crc32, deflateSync } from 'node:zlib';

/** Stands in every piece of metadata that is put in, and must stand nowhere afterwards. */
export const SECRET = 'sEcReT-37.8';

/** What metadata is known by, whatever it holds. */
const TRACES = [SECRET, 'Exif\0', 'GPS', 'http://ns.adobe.com/', 'x:xmpmeta', 'XML:com.adobe.xmp', 'XMP DataXMP', '8BIM', 'Photoshop', 'MPF\0'];

/** The traces of metadata that bytes have. */
export function tracesIn(bytes) {
  return TRACES.filter((trace) => bytes.includes(trace, 0, 'latin1'));
}

/** EXIF as TIFF, little-endian: a maker, an orientation, and a place on Earth (EXIF 2.32 §4.6.2, §4.6.6). */
export function tiff(orientation) {
  const maker = Buffer.from(`${SECRET}-maker\0`);
  const entries = 3;
  const gpsAt = 8 + 2 + entries * 12 + 4;
  const dataAt = gpsAt + 2 + 4 * 12 + 4;
  const entry = (tag, type, count, value) => {
    const made = Buffer.alloc(12);
    made.writeUInt16LE(tag, 0);
    made.writeUInt16LE(type, 2);
    made.writeUInt32LE(count, 4);
    if (Buffer.isBuffer(value)) value.copy(made, 8);
    else made.writeUInt32LE(value, 8);
    return made;
  };
  const directory = (...made) => {
    const count = Buffer.alloc(2);
    count.writeUInt16LE(made.length);
    return Buffer.concat([count, ...made, Buffer.alloc(4)]);
  };
  const degrees = (...parts) => Buffer.concat(parts.map(([above, below]) => {
    const rational = Buffer.alloc(8);
    rational.writeUInt32LE(above, 0);
    rational.writeUInt32LE(below, 4);
    return rational;
  }));
  const header = Buffer.from([0x49, 0x49, 42, 0, 8, 0, 0, 0]);
  const main = directory(
    entry(0x010f, 2, maker.length, dataAt), entry(0x0112, 3, 1, orientation), entry(0x8825, 4, 1, gpsAt),
  );
  const latitudeAt = dataAt + maker.length;
  const gps = directory(
    entry(1, 2, 2, Buffer.from('N\0')), entry(2, 5, 3, latitudeAt), entry(3, 2, 2, Buffer.from('W\0')), entry(4, 5, 3, latitudeAt + 24),
  );
  const places = [degrees([37, 1], [46, 1], [2_964, 100]), degrees([122, 1], [25, 1], [988, 100])];
  return Buffer.concat([header, main, gps, maker, ...places]);
}

const XMP = `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">${SECRET}</rdf:RDF></x:xmpmeta>`;

export function jpegSegment(marker, ...content) {
  const body = Buffer.concat(content.map((part) => Buffer.from(part, 'latin1')));
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(body.length + 2, 2);
  return Buffer.concat([head, body]);
}

/** A JPEG with all that a phone and a photo editor leave in it: EXIF with GPS, XMP, IPTC, a comment, a preview at its end. */
export function tellingJpeg(jpeg, orientation) {
  const iptc = Buffer.concat([
    Buffer.from('Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x14\x1c\x02\x78\0\x0f', 'latin1'), Buffer.from(`${SECRET}-iptc`.slice(0, 15)),
  ]);
  const segments = [
    jpegSegment(0xe1, 'Exif\0\0', tiff(orientation)), jpegSegment(0xe1, 'http://ns.adobe.com/xap/1.0/\0', XMP),
    jpegSegment(0xed, iptc), jpegSegment(0xfe, `${SECRET}-comment`), jpegSegment(0xe2, 'MPF\0', SECRET),
  ];
  return Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2), Buffer.from(`${SECRET}-tail`)]);
}

/** The markers of a JPEG up to its first scan, application data with the name that it begins with. */
export function jpegMarkers(jpeg) {
  const found = [];
  for (let at = 2; at + 4 <= jpeg.length;) {
    const marker = jpeg[at + 1];
    if (jpeg[at] !== 0xff) throw new Error(`no marker at ${at}`);
    const length = jpeg.readUInt16BE(at + 2);
    const name = jpeg.toString('latin1', at + 4, at + 2 + length).split('\0')[0];
    const isApplication = (marker >= 0xe0 && marker <= 0xef) || marker === 0xfe;
    found.push(isApplication ? `${marker === 0xfe ? 'COM' : `APP${marker - 0xe0}`} ${name.slice(0, 16)}` : marker.toString(16));
    if (marker === 0xda) return found;
    at += 2 + length;
  }
  throw new Error('a JPEG without a scan');
}

export function pngChunk(type, ...content) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), ...content.map((part) => Buffer.from(part, 'latin1'))]);
  const made = Buffer.alloc(body.length + 8);
  made.writeUInt32BE(body.length - 4, 0);
  body.copy(made, 4);
  made.writeUInt32BE(crc32(body) >>> 0, body.length + 4);
  return made;
}

/** A PNG with EXIF, XMP, texts and a time. */
export function tellingPng(png, orientation) {
  const header = 8 + 25;
  const chunks = [
    pngChunk('eXIf', tiff(orientation)), pngChunk('iTXt', 'XML:com.adobe.xmp\0\0\0\0\0', XMP), pngChunk('tEXt', `Author\0${SECRET}`),
    pngChunk('zTXt', 'Comment\0\0', deflateSync(SECRET.repeat(3))), pngChunk('tIME', Buffer.from([7, 0xea, 1, 2, 3, 4, 5])),
  ];
  return Buffer.concat([png.subarray(0, header), ...chunks, png.subarray(header)]);
}

export function pngChunks(png) {
  const found = [];
  for (let at = 8; at + 12 <= png.length; at += 12 + png.readUInt32BE(at)) found.push(png.toString('latin1', at + 4, at + 8));
  return found;
}

function riffChunk(type, body) {
  const head = Buffer.alloc(8);
  head.write(type, 'latin1');
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body, Buffer.alloc(body.length % 2)]);
}

export function webpChunks(webp) {
  const found = [];
  for (let at = 12; at + 8 <= webp.length;) {
    const length = webp.readUInt32LE(at + 4);
    found.push({ type: webp.toString('latin1', at, at + 4), body: webp.subarray(at + 8, at + 8 + length) });
    at += 8 + length + (length % 2);
  }
  return found;
}

/** A still WebP, as canvases make them, in the extended form with EXIF and XMP (RFC 9649 §2.7). */
export function tellingWebp(webp, { width, height }, orientation) {
  const chunks = webpChunks(webp).filter(({ type }) => type !== 'VP8X');
  const has = (type) => chunks.some((chunk) => chunk.type === type);
  const extended = Buffer.alloc(10);
  extended[0] = (has('ICCP') ? 0x20 : 0) | (has('ALPH') ? 0x10 : 0) | 0x08 | 0x04;
  extended.writeUIntLE(width - 1, 4, 3);
  extended.writeUIntLE(height - 1, 7, 3);
  const kept = chunks.map(({ type, body }) => riffChunk(type, body));
  const told = [riffChunk('EXIF', tiff(orientation)), riffChunk('XMP ', Buffer.from(XMP))];
  return riffChunk('RIFF', Buffer.concat([Buffer.from('WEBP'), riffChunk('VP8X', extended), ...kept, ...told]));
}

/** An animated GIF of two frames with a comment and XMP; each colour is one of four. */
export function tellingGif(width, height) {
  const word = (value) => [value & 255, value >> 8];
  const blocks = (bytes) => {
    const made = [];
    for (let at = 0; at < bytes.length; at += 255) {
      const part = bytes.subarray(at, at + 255);
      made.push(Buffer.from([part.length]), part);
    }
    return Buffer.concat([...made, Buffer.from([0])]);
  };
  const palette = [220, 40, 40, 40, 180, 60, 40, 70, 220, 235, 210, 50];
  const frame = () => Buffer.concat([
    Buffer.from([0x21, 0xf9, 4, 0, 10, 0, 0, 0, 0x2c, 0, 0, 0, 0, ...word(width), ...word(height), 0, 2]), blocks(lzw(width, height)),
  ]);
  return Buffer.concat([
    Buffer.from('GIF89a'), Buffer.from([...word(width), ...word(height), 0x91, 0, 0, ...palette]),
    Buffer.from([0x21, 0xff, 11]), Buffer.from('NETSCAPE2.0'), Buffer.from([3, 1, 0, 0, 0]),
    Buffer.from([0x21, 0xfe]), blocks(Buffer.from(`${SECRET}-comment`)),
    Buffer.from([0x21, 0xff, 11]), Buffer.from('XMP DataXMP'), blocks(Buffer.from(XMP)),
    frame(), frame(), Buffer.from([0x3b]),
  ]);
}

/** The four corners as GIF's codes of three bits: cleared every second pixel, so that codes never grow. */
function lzw(width, height) {
  const [clear, end] = [4, 5];
  const codes = [];
  for (let n = 0; n < width * height; n += 1) {
    if (n % 2 === 0) codes.push(clear);
    const [right, low] = [n % width >= width / 2, Math.floor(n / width) >= height / 2];
    codes.push(low ? (right ? 2 : 3) : (right ? 1 : 0));
  }
  codes.push(end);
  const bytes = Buffer.alloc(Math.ceil((codes.length * 3) / 8));
  codes.forEach((code, i) => {
    for (let bit = 0; bit < 3; bit += 1) if (code & (1 << bit)) bytes[(i * 3 + bit) >> 3] |= 1 << ((i * 3 + bit) & 7);
  });
  return bytes;
}
