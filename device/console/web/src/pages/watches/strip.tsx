import type { AnswerValue } from '../../../../api/watch-schemas.js';
import { percent, wordsOf } from '../../words.js';

export interface StripSpan {
  readonly fromMs: number;
  readonly toMs: number;
  /** null: not known. */
  readonly value: AnswerValue | null;
  readonly probability: number | null;
  readonly isLasting: boolean;
}

export interface StripProps {
  readonly spans: readonly StripSpan[];
  readonly fromMs: number;
  readonly toMs: number;
  /** For those who do not see it. */
  readonly label: string;
}

/** States over time: how sure is how high, an event has the colour of one. */
export function Strip({ spans, fromMs, toMs, label }: StripProps) {
  const all = Math.max(1, toMs - fromMs);
  const share = (ms: number) => `${((100 * ms) / all).toFixed(3)}%`;
  return (
    <figure class="strip">
      <div class="track" role="img" aria-label={label}>
        {spans.map((span) => (
          <span
            key={span.fromMs}
            class={span.value === null ? 'unknown' : span.isLasting ? 'lasting' : 'calm'}
            title={titleOf(span)}
            style={{
              left: share(span.fromMs - fromMs),
              width: share(span.toMs - span.fromMs),
              height: span.value === null ? '12%' : `${Math.round(30 + 70 * (span.probability ?? 1))}%`,
            }}
          />
        ))}
      </div>
      <figcaption class="facts">
        <time dateTime={new Date(fromMs).toISOString()}>{clock(fromMs, all)}</time>
        <time dateTime={new Date(toMs).toISOString()}>{clock(toMs, all)}</time>
      </figcaption>
    </figure>
  );
}

function titleOf({ fromMs, toMs, value, probability }: StripSpan): string {
  const sure = probability === null ? '' : `, ${percent(probability)} sure`;
  const what = value === null ? 'not known' : `${wordsOf(value)}${sure}`;
  return `${new Date(fromMs).toLocaleTimeString()} to ${new Date(toMs).toLocaleTimeString()}: ${what}`;
}

function clock(atMs: number, spanMs: number): string {
  const at = new Date(atMs);
  return spanMs > 86_400_000 ? at.toLocaleDateString() : at.toLocaleTimeString();
}
