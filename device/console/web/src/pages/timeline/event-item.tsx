import type { TimelineEvent } from '../../../../api/schemas.js';
import { BoxedPicture } from '../../boxed-picture.js';
import { objectsOf, say } from './say.js';

export interface EventItemProps {
  readonly event: TimelineEvent;
  readonly onOpen: () => void;
}

export function EventItem({ event, onOpen }: EventItemProps) {
  const { kind, atMs, camera, frame, run, body } = event;
  const { title, text } = say(event);
  const hasPicture = frame !== null && (kind === 'scene' || kind === 'answer' || kind === 'watch');
  return (
    <li class="card event" data-kind={kind}>
      {hasPicture ? (
        <button type="button" class="thumb" aria-label={`Show the picture: ${text.slice(0, 80)}`} onClick={onOpen}>
          <BoxedPicture frame={frame} camera={camera} run={run} objects={objectsOf(event)} alt="" isThumbnail />
        </button>
      ) : (
        <span class="picture none" aria-hidden="true" />
      )}
      <div>
        <p class="facts">
          <time dateTime={new Date(atMs).toISOString()}>{new Date(atMs).toLocaleString()}</time>
          {camera && ` · ${camera}`} · {title}
        </p>
        {typeof body.question === 'string' && <p class="question">{body.question}</p>}
        <p>{text}</p>
      </div>
    </li>
  );
}
