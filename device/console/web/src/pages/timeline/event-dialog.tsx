import { useEffect, useRef } from 'preact/hooks';
import type { TimelineEvent } from '../../../../api/schemas.js';
import { BoxedPicture } from '../../boxed-picture.js';
import { askAddress } from '../ask/subject.js';
import { objectsOf, say } from './say.js';

export interface EventDialogProps {
  readonly event: TimelineEvent;
  readonly mayAsk: boolean;
  readonly onAround: () => void;
  readonly onClose: () => void;
}

/** The frame of an event, at its full size, and where to go from it. */
export function EventDialog({ event, mayAsk, onAround, onClose }: EventDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const { frame, camera, run, body, atMs } = event;
  const { title, text } = say(event);
  const objects = objectsOf(event);
  const question = typeof body.question === 'string' ? body.question : undefined;
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      class="card frame-dialog"
      aria-label={`${title}, ${new Date(atMs).toLocaleString()}`}
      onClose={onClose}
      onClick={({ target }) => {
        if (target === dialog.current) dialog.current?.close();
      }}
    >
      <div class="inside">
        {frame && (
          <BoxedPicture frame={frame} camera={camera} run={run} objects={objects} alt={`The frame of this event: ${text}`} />
        )}
        <p class="facts">
          <time dateTime={new Date(atMs).toISOString()}>{new Date(atMs).toLocaleString()}</time>
          {camera && ` · ${camera}`} · {title}
          {frame && ` · frame ${frame.id}`}
        </p>
        {question !== undefined && <p class="question">{question}</p>}
        <p>{text}</p>
        <div class="exports">
          {frame && mayAsk && (
            <a class="button quiet" href={askAddress(frame, camera, run, question)}>
              Ask about this frame
            </a>
          )}
          <button type="button" class="quiet" onClick={onAround}>
            Show what else happened then
          </button>
          <button type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
      </div>
    </dialog>
  );
}
