// Small files that want to be large: what a decoder without bounds would die of.
import { deflateRawSync, constants } from 'node:zlib';

import { jpegSegment, pngChunk } from './metadata.mjs';

const MIB = 1024 * 1024;

/** Zlib's form of so many zeros, at a thousandth of their size and of the time that deflating them takes. */
function deflatedZeros(bytes) {
  const head = Buffer.from([0x78, 0xda]);
  // Flushed in full, pieces stand one after the other.
  const piece = deflateRawSync(Buffer.alloc(MIB), { level: 9, finishFlush: constants.Z_FULL_FLUSH });
  const rest = deflateRawSync(Buffer.alloc(bytes % MIB), { level: 9 });
  const adler = Buffer.alloc(4);
  adler.writeUInt16BE(bytes % 65_521, 0);
  adler.writeUInt16BE(1, 2);
  return Buffer.concat([head, ...Array(Math.floor(bytes / MIB)).fill(piece), rest, adler]);
}

function png(width, height, colour, ...chunks) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8;
  header[9] = colour;
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), pngChunk('IHDR', header), ...chunks, pngChunk('IEND', Buffer.alloc(0))]);
}

/** 1.6 GB of transparent pixels in 1.6 MB. */
export function hugePng(side = 20_000) {
  return png(side, side, 6, pngChunk('IDAT', deflatedZeros(side * (side * 4 + 1))));
}

/** A PNG of 64 × 64 whose comment inflates to a gigabyte, and its colour profile to another. */
export function textPng(bytes = 1024 * MIB) {
  const zeros = deflatedZeros(bytes);
  return png(64, 64, 2, pngChunk('zTXt', 'Comment\0\0', zeros), pngChunk('iCCP', 'profile\0\0', zeros), pngChunk('IDAT', deflatedZeros(64 * (64 * 3 + 1))));
}

const TABLES = (() => {
  const quantization = jpegSegment(0xdb, Buffer.concat([Buffer.from([0]), Buffer.alloc(64, 1)]));
  // One code of one bit each: category 0 for DC, end of band for AC.
  const huffman = (id, value) => jpegSegment(0xc4, Buffer.from([id, 1, ...Array(15).fill(0), value]));
  return Buffer.concat([quantization, huffman(0x00, 0), huffman(0x10, 0)]);
})();

function jpegFrame(marker, width, height) {
  return jpegSegment(marker, Buffer.from([8, height >> 8, height & 255, width >> 8, width & 255, 1, 1, 0x11, 0]));
}

function jpegScan(spectral, approximation, data) {
  return Buffer.concat([jpegSegment(0xda, Buffer.from([1, 1, 0, ...spectral, approximation])), data]);
}

/** A header of 65,500 × 65,500, and hardly any data. */
export function hugeJpeg(side = 65_500) {
  return Buffer.concat([Buffer.from([0xff, 0xd8]), TABLES, jpegFrame(0xc0, side, side), jpegScan([0, 63], 0, Buffer.alloc(64)), Buffer.from([0xff, 0xd9])]);
}

/** So many progressive scans over 4 megapixels, each of which costs a decoder a walk over all of them. */
export function manyScans(scans = 20_000, side = 2_048) {
  const first = jpegScan([0, 0], 0x00, Buffer.alloc(Math.ceil((side / 8) ** 2 / 8)));
  const more = jpegScan([1, 63], 0x00, Buffer.alloc(Math.ceil((side / 8) ** 2 / 8)));
  const short = jpegScan([1, 63], 0x10, Buffer.from([0]));
  return Buffer.concat([Buffer.from([0xff, 0xd8]), TABLES, jpegFrame(0xc2, side, side), first, more, ...Array(scans - 2).fill(short), Buffer.from([0xff, 0xd9])]);
}

/** A canvas of 65,535 × 65,535 with a frame of one pixel. */
export function hugeGif(side = 65_535) {
  const word = [side & 255, side >> 8];
  return Buffer.concat([
    Buffer.from('GIF89a'), Buffer.from([...word, ...word, 0x80, 0, 0, 0, 0, 0, 255, 255, 255]),
    Buffer.from([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b]),
  ]);
}
