/** Ring tones, made here: nothing to load. */

type Tone = { notes: [frequency: number, at: number, length: number][]; every: number; volume: number };

const INCOMING: Tone = { notes: [[659, 0, 0.16], [784, 0.18, 0.16], [988, 0.36, 0.34], [784, 0.9, 0.16], [988, 1.08, 0.4]], every: 2.4, volume: 0.14 };
const OUTGOING: Tone = { notes: [[440, 0, 0.9]], every: 3.2, volume: 0.05 };

let context: AudioContext | undefined;

/** Sounds until the returned function is called. A browser that allows no sound before a click stays silent. */
export function ringTone(which: 'incoming' | 'outgoing'): () => void {
  const tone = which === 'incoming' ? INCOMING : OUTGOING;
  let stopped = false;
  try {
    context ??= new AudioContext();
    void context.resume().catch(() => undefined);
  } catch {
    return () => undefined;
  }
  const audio = context;
  const out = audio.createGain();
  out.gain.value = tone.volume;
  out.connect(audio.destination);
  const play = (): void => {
    if (stopped || audio.state !== 'running') return;
    for (const [frequency, at, length] of tone.notes) {
      const start = audio.currentTime + 0.03 + at;
      const note = audio.createOscillator();
      const shape = audio.createGain();
      note.frequency.value = frequency;
      note.type = 'triangle';
      shape.gain.setValueAtTime(0, start);
      shape.gain.linearRampToValueAtTime(1, start + 0.02);
      shape.gain.setValueAtTime(1, start + length * 0.6);
      shape.gain.linearRampToValueAtTime(0, start + length);
      note.connect(shape).connect(out);
      note.start(start);
      note.stop(start + length + 0.05);
    }
  };
  play();
  const timer = setInterval(play, tone.every * 1000);
  if (which === 'incoming' && !matchMedia('(prefers-reduced-motion: reduce)').matches) navigator.vibrate?.([300, 200, 300]);
  return () => {
    stopped = true;
    clearInterval(timer);
    out.disconnect();
  };
}
