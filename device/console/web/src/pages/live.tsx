import { useEffect, useRef, useState } from 'preact/hooks';
import type { CameraState, GroundedBox, Lamp, TimelineEvent, TimelinePage } from '../../../api/schemas.js';
import { get } from '../api.js';
import type { PageProps } from '../app.js';
import { BoxedPicture } from '../boxed-picture.js';
import { watchCamera } from '../live.js';

const LAMP_WORDS: Readonly<Record<Lamp['state'], string>> = { good: 'well', waiting: 'waiting', bad: 'in trouble' };

export function LivePage({ state, events }: PageProps) {
  return (
    <>
      <h1>Live</h1>
      <section class="lamps" aria-label="State">
        {(['camera', 'model', 'broker'] as const).map((name) => (
          <LampCard key={name} name={name} lamp={state?.lamps[name]} />
        ))}
      </section>
      {state?.cameras.map((camera) => (
        <CameraSection key={camera.id} camera={camera} events={events} />
      ))}
    </>
  );
}

function LampCard({ name, lamp }: { readonly name: string; readonly lamp: Lamp | undefined }) {
  const state = lamp?.state ?? 'waiting';
  return (
    <div class={`card lamp ${state}`} data-lamp={name} data-state={state}>
      <h2>
        <span class="light" aria-hidden="true" />
        {name} <span class="word">{LAMP_WORDS[state]}</span>
      </h2>
      <p aria-live="polite">
        {lamp?.reason ?? 'The device is being asked.'} {lamp?.remedy && <em>{lamp.remedy}</em>}
      </p>
    </div>
  );
}

function CameraSection({
  camera,
  events,
}: {
  readonly camera: CameraState;
  readonly events: readonly TimelineEvent[];
}) {
  const [earlier, setEarlier] = useState<TimelineEvent>();
  useEffect(() => {
    const abort = new AbortController();
    const query = new URLSearchParams({ kinds: 'scene', camera: camera.id, limit: '1' });
    get<TimelinePage>(`/api/timeline?${query}`, abort.signal).then(
      (page) => setEarlier(page.events[0]),
      () => {},
    );
    return () => abort.abort();
  }, [camera.id]);
  const scene = events.find((event) => event.kind === 'scene' && event.camera === camera.id) ?? earlier;
  const answer = scene?.body.answer as { text: string; objects: GroundedBox[] } | undefined;
  return (
    <section class="camera" aria-label={`Camera ${camera.id}`}>
      <figure class="card">
        <figcaption>
          <h2>{camera.id} now</h2>
          <span class="facts">
            {camera.image ? `${camera.image.width} × ${camera.image.height}` : camera.state}
            {camera.framesPerSecond ? `, ${Math.round(camera.framesPerSecond)} pictures/s` : ''}
          </span>
        </figcaption>
        <LivePicture camera={camera} />
      </figure>
      <figure class="card">
        <figcaption>
          <h2>{camera.id} as described</h2>
          <span class="facts">{scene ? new Date(scene.atMs).toLocaleTimeString() : ''}</span>
        </figcaption>
        {scene?.frame && answer ? (
          <>
            <BoxedPicture
              frame={scene.frame}
              camera={camera.id}
              run={scene.run}
              objects={answer.objects}
              alt={`The frame that was described: ${answer.text}`}
            />
            <p class="description" aria-live="polite">
              {answer.text}
            </p>
          </>
        ) : (
          <p class="absent">No description yet. The first comes when the model is ready.</p>
        )}
      </figure>
    </section>
  );
}

function LivePicture({ camera }: { readonly camera: CameraState }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [isOpen, setOpen] = useState(false);
  const [rate, setRate] = useState(0);
  const { width, height } = camera.image ?? { width: 640, height: 480 };

  useEffect(() => {
    let count = 0;
    const timer = setInterval(() => {
      setRate(count);
      count = 0;
    }, 1_000);
    const stop = watchCamera(camera.id, {
      onOpen: setOpen,
      onFrame: (frame, picture) => {
        const target = canvas.current;
        if (target === null) return;
        if (target.width !== frame.width) target.width = frame.width;
        if (target.height !== frame.height) target.height = frame.height;
        target.getContext('2d')?.drawImage(picture, 0, 0);
        target.dataset.frame = frame.id;
        count += 1;
      },
    });
    return () => {
      clearInterval(timer);
      stop();
    };
  }, [camera.id]);

  const note = camera.isPrivate ? 'The privacy of this camera is on.' : isOpen ? undefined : 'Connecting…';
  return (
    <>
      <div class="picture" style={{ aspectRatio: `${width} / ${height}` }}>
        <canvas ref={canvas} role="img" aria-label={`What camera ${camera.id} sees now`} hidden={camera.isPrivate} />
        {note !== undefined && <p class="absent over">{note}</p>}
      </div>
      <p class="facts" data-rate={rate}>
        {rate > 0 ? `${rate} pictures/s on this page` : 'The last picture'}
      </p>
    </>
  );
}
