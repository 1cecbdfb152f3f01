import type { GroundedBox } from '../../../../api/schemas.js';
import { useState } from 'preact/hooks';
import { BoxedPicture } from '../../boxed-picture.js';
import { HeatControls } from '../../heat-controls.js';
import { pageAddress } from '../../hash-query.js';
import { percent, wordsOf } from '../../words.js';
import { choicesOf } from './answer-kind.js';
import { type Exchange, type Side, turnsAfter } from './exchange.js';
import { type FrameSubject, nameOf } from './subject.js';

export interface ExchangeCardProps {
  readonly exchange: Exchange;
  readonly mayWatch: boolean;
  /** Further questions are about this frame. */
  readonly onPin: (subject: FrameSubject) => void;
}

export function ExchangeCard({ exchange, mayWatch, onPin }: ExchangeCardProps) {
  const { question, answerKind, sides } = exchange;
  const isDone = sides.every(({ answer, failure }) => answer !== undefined || failure !== undefined);
  const [first] = sides;
  const asked = answerKind.kind === 'choice' ? choicesOf(answerKind).join(',') : undefined;
  const earlier = first?.subject.kind === 'frame' ? first.subject.turns.length : 0;
  return (
    <article class="card turn" data-done={isDone}>
      <div class="head">
        <h2>{question}</h2>
        {earlier > 0 && <span class="facts">question {earlier + 1} about this frame</span>}
      </div>
      <div class={sides.length > 1 ? 'halves' : 'columns'}>
        {sides.map((side, index) => (
          <SideView key={index} side={side} question={question} isOneOfTwo={sides.length > 1} onPin={onPin} />
        ))}
      </div>
      {isDone && mayWatch && answerKind.kind !== 'json' && (
        <a
          class="button quiet"
          href={pageAddress('watches', {
            question,
            answerType: answerKind.kind,
            choices: asked,
            camera: first?.camera,
          })}
        >
          Make a watch of this question
        </a>
      )}
    </article>
  );
}

interface SideViewProps {
  readonly side: Side;
  readonly question: string;
  readonly isOneOfTwo: boolean;
  readonly onPin: (subject: FrameSubject) => void;
}

function SideView({ side, question, isOneOfTwo, onPin }: SideViewProps) {
  const { subject, camera, run, frame, answer, failure } = side;
  const [heat, setHeat] = useState<string>();
  const objects: readonly GroundedBox[] = answer?.objects ?? [];
  const picture = frame && (
    <BoxedPicture
      frame={frame}
      camera={camera}
      run={run}
      objects={objects}
      heat={heat}
      alt={`The frame that was asked about: ${frame.id}`}
    />
  );
  const pin = () => onPin({ kind: 'frame', frame: frame!, camera, run, turns: turnsAfter(side, question) });
  return (
    <div class="side">
      {isOneOfTwo && <h3>{nameOf(subject)}</h3>}
      {picture ?? <div class="picture waiting" aria-hidden="true" />}
      <div>
        <AnswerText side={side} />
        {failure !== undefined && <p class="failure">{failure}</p>}
        {answer?.notices.map((notice) => (
          <p key={notice} class="hint">
            {notice}
          </p>
        ))}
        {objects.length > 0 && (
          <ul class="objects">
            {objects.map(({ label, score, source, verified }, index) => (
              <li key={`${label} ${index}`}>
                {label}{' '}
                <small>
                  score {score.toFixed(2)}, from {source}
                  {verified !== undefined && (verified ? ', verified' : ', refuted')}
                </small>
              </li>
            ))}
          </ul>
        )}
        {frame && answer && <HeatControls frame={{ id: frame.id, run }} camera={camera} objects={objects} onHeat={setHeat} />}
        {answer && <Timings timings={answer.timings} usage={answer.usage} />}
        {frame && (answer !== undefined || failure !== undefined) && (
          <button type="button" class="quiet" onClick={pin}>
            Ask more about this frame
          </button>
        )}
      </div>
    </div>
  );
}

function AnswerText({ side: { text, answer, failure } }: { readonly side: Side }) {
  if (answer === undefined) return <p class="answer">{text || (failure === undefined ? '…' : '')}</p>;
  if (answer.options.length > 0)
    return (
      <>
        <p class="answer">
          {answer.text} {answer.probability !== null && <small>{percent(answer.probability)} sure</small>}
        </p>
        <ul class="options">
          {answer.options.slice(0, 6).map(({ value, probability }) => (
            <li key={String(value)}>
              <span>{wordsOf(value)}</span>
              <meter min={0} max={1} value={probability} aria-label={`${wordsOf(value)}: ${percent(probability)}`} />
              <span class="facts">{percent(probability)}</span>
            </li>
          ))}
        </ul>
      </>
    );
  if (answer.value !== undefined)
    return (
      <>
        <pre class="answer json">{JSON.stringify(answer.value, undefined, 2)}</pre>
        <p class="verdict good">✓ The answer fits the schema.</p>
      </>
    );
  if (answer.sentence === null) return <p class="answer">{answer.text}</p>;
  return (
    <>
      <p class="answer">{answer.sentence}</p>
      <details class="facts">
        <summary>As the model wrote it</summary>
        <code>{answer.text}</code>
      </details>
    </>
  );
}

const PARTS = [
  ['queueMs', 'waiting'],
  ['imageMs', 'picture'],
  ['prefillMs', 'question'],
  ['decodeMs', 'answer'],
] as const;

/** Where the time went. */
function Timings({ timings, usage }: Pick<NonNullable<Side['answer']>, 'timings' | 'usage'>) {
  const isWritten = (usage.generatedTokens ?? 0) > 0;
  return (
    <dl class="timings">
      {PARTS.map(([name, title]) => (
        <div key={name}>
          <dt>{title}</dt>
          <dd>{Math.round(timings[name] ?? 0)} ms</dd>
        </div>
      ))}
      {isWritten && (
        <>
          <div>
            <dt>first token</dt>
            <dd>{Math.round(timings.timeToFirstTokenMs ?? 0)} ms</dd>
          </div>
          <div>
            <dt>speed</dt>
            <dd>{(timings.tokensPerSecond ?? 0).toFixed(0)} tokens/s</dd>
          </div>
          <div>
            <dt>tokens</dt>
            <dd>{usage.generatedTokens ?? 0}</dd>
          </div>
        </>
      )}
    </dl>
  );
}
