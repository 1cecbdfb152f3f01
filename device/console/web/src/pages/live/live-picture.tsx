import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { CameraState } from '../../../../api/schemas.js';
import { LiveCanvas } from '../../live-canvas.js';
import { MaskOutlines } from './mask-outlines.js';

export interface LivePictureProps {
  readonly camera: CameraState;
  /** Drawn over the picture. */
  readonly children?: ComponentChildren;
}

export function LivePicture({ camera, children }: LivePictureProps) {
  const [isOpen, setOpen] = useState(false);
  const [rate, setRate] = useState(0);
  const painted = useRef(0);
  const { width, height } = camera.image ?? { width: 640, height: 480 };

  useEffect(() => {
    const timer = setInterval(() => {
      setRate(painted.current);
      painted.current = 0;
    }, 1_000);
    return () => clearInterval(timer);
  }, []);

  const note = camera.isPrivate ? 'The privacy of this camera is on.' : isOpen ? undefined : 'Connecting…';
  return (
    <>
      <div class="picture" style={{ aspectRatio: `${width} / ${height}` }}>
        <LiveCanvas
          camera={camera.id}
          isHidden={camera.isPrivate}
          onOpen={setOpen}
          onPaint={() => {
            painted.current += 1;
          }}
        />
        {note === undefined && <MaskOutlines masks={camera.masks} />}
        {note === undefined && children}
        {note !== undefined && <p class="absent over">{note}</p>}
      </div>
      <p class="facts" data-rate={rate}>
        {rate > 0 ? `${rate} pictures/s on this page` : 'The last picture'}
      </p>
    </>
  );
}
