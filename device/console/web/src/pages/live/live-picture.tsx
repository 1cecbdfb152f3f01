import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { CameraState } from '../../../../api/schemas.js';
import { watchCamera } from '../../live.js';
import { MaskOutlines } from './mask-outlines.js';

export interface LivePictureProps {
  readonly camera: CameraState;
  /** Drawn over the picture. */
  readonly children?: ComponentChildren;
}

export function LivePicture({ camera, children }: LivePictureProps) {
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
        if (target.width !== picture.width) target.width = picture.width;
        if (target.height !== picture.height) target.height = picture.height;
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
