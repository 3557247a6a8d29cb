/** Everything that the page says, where saying it takes thought. Pure. */

/** `1:05`, `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** `42 s`, `3 min`, `1 h 5 min`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export interface CallLine {
  text: string;
  /** Shown in the colour of things to be noticed. */
  missed: boolean;
}

interface Outcome {
  outcome: string;
  caller: string;
  video: boolean;
  seconds: number;
}

/** Whether a message's body tells what became of a call. */
export function isOutcome(body: unknown): body is Outcome {
  const value = body as Partial<Outcome> | null;
  return typeof value === 'object' && value !== null && typeof value.outcome === 'string' && typeof value.caller === 'string';
}

/** What became of a call, as the given person should read it. `other` names who else is in the conversation. */
export function callLine(body: Outcome, me: string, other: string): CallLine {
  const mine = body.caller === me;
  const kind = body.video ? 'video call' : 'call';
  const Kind = body.video ? 'Video call' : 'Call';
  switch (body.outcome) {
    case 'ended': return { text: `${Kind} · ${duration(body.seconds ?? 0)}`, missed: false };
    case 'missed': return mine ? { text: `No answer to your ${kind}`, missed: false } : { text: `Missed ${kind} from ${body.caller}`, missed: true };
    case 'cancelled': return mine ? { text: `You cancelled the ${kind}`, missed: false } : { text: `Missed ${kind} from ${body.caller}`, missed: true };
    case 'declined': return { text: mine ? `${other} declined your ${kind}` : `You declined a ${kind} from ${body.caller}`, missed: false };
    case 'busy': return mine ? { text: `${other} was in another call`, missed: false } : { text: `Missed ${kind} from ${body.caller} during another call`, missed: true };
    case 'failed': return { text: `The ${kind} could not be connected`, missed: true };
    default: return { text: Kind, missed: false };
  }
}

/** What to tell the person when a call ends; undefined if it goes without saying. */
export function endWords(reason: string | undefined, outgoing: boolean, other: string): string | undefined {
  switch (reason) {
    case 'declined': return outgoing ? `${other} declined the call.` : undefined;
    case 'cancelled': return outgoing ? undefined : `${other} stopped calling.`;
    case 'timed_out': return outgoing ? `${other} did not answer.` : `You missed a call from ${other}.`;
    case 'busy': return outgoing ? `${other} is in another call.` : undefined;
    case 'failed': return 'The call could not be connected.';
    default: return 'The call has ended.';
  }
}

const STATUS: Record<string, string> = { sending: 'Sending', failed: 'Not sent', sent: 'Sent', delivered: 'Delivered', read: 'Read' };

export function markWords(mark: string): string {
  return STATUS[mark] ?? mark;
}

function startOfDay(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0);
}

/** `Today`, `Yesterday`, `Tuesday`, `3 March`, `3 March 2024`. */
export function dayWords(at: number, now: number, locale?: string): string {
  const days = Math.round((startOfDay(now) - startOfDay(at)) / 86_400_000);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days > 1 && days < 7) return new Intl.DateTimeFormat(locale, { weekday: 'long' }).format(at);
  const year = new Date(at).getFullYear() === new Date(now).getFullYear() ? {} : { year: 'numeric' } as const;
  return new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'long', ...year }).format(at);
}

export function timeWords(at: number, locale?: string): string {
  return new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' }).format(at);
}

/** The short time of a conversation's last message in the list. */
export function listTime(at: number, now: number, locale?: string): string {
  const days = Math.round((startOfDay(now) - startOfDay(at)) / 86_400_000);
  if (days === 0) return timeWords(at, locale);
  if (days === 1) return 'Yesterday';
  return new Intl.DateTimeFormat(locale, days < 7 ? { weekday: 'short' } : { day: 'numeric', month: 'short' }).format(at);
}

/** `A`, `A and B`, `A, B and 3 others`. */
export function names(list: readonly string[], most = 3): string {
  if (list.length <= 1) return list[0] ?? '';
  if (list.length > most) return `${list.slice(0, most - 1).join(', ')} and ${list.length - most + 1} others`;
  return `${list.slice(0, -1).join(', ')} and ${list.at(-1)}`;
}

/** A user id out of what a person types as a name; empty if nothing usable is in it. */
export function userId(name: string): string {
  return name.trim().normalize('NFKD').replace(/\p{M}/gu, '').replace(/\s+/g, '-').replace(/[^A-Za-z0-9._-]/g, '').slice(0, 64);
}

/** The people named in a field, by commas, semicolons or spaces; each once. */
export function people(text: string): string[] {
  return [...new Set(text.split(/[,;\s]+/).map(userId).filter(Boolean))];
}

/** Up to two letters for a picture that is not there. */
export function initials(name: string): string {
  const parts = name.split(/[\s._-]+/).filter(Boolean);
  const letters = parts.length > 1 ? [parts[0], parts.at(-1)] : [parts[0]];
  return letters.map((part) => [...(part ?? '?')][0]!.toUpperCase()).join('');
}

/** A hue for a name: the same everywhere, unlike its neighbour's. */
export function hue(name: string): number {
  let hash = 2166136261;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0)!, 16777619) >>> 0;
  return (hash * 137) % 360;
}

/** Columns for so many tiles in a stage of this shape: those that make the tiles, at 16:9, largest. */
export function columnsFor(count: number, width: number, height: number): number {
  let best = 1;
  let bestArea = 0;
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(count / columns);
    const tile = Math.min(width / columns, (height / rows) * (16 / 9));
    if (tile > bestArea + 1) [best, bestArea] = [columns, tile];
  }
  return best;
}
