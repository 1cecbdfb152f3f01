import { useEffect, useRef } from 'preact/hooks';
import { watchCamera } from './live.js';

export interface LiveCanvasProps {
  /** Id of the camera. */
  readonly camera: string;
  readonly isHidden?: boolean | undefined;
  /** false: nothing comes at the moment. Not followed when it changes. */
  readonly onOpen: (isOpen: boolean) => void;
  /** Called when a picture has been painted. Not followed when it changes. */
  readonly onPaint?: (() => void) | undefined;
}

/** The moving picture of a camera as it comes; `data-frame` names the frame that is on it. */
export function LiveCanvas({ camera, isHidden, onOpen, onPaint }: LiveCanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(
    () =>
      watchCamera(camera, {
        onOpen,
        onFrame: (frame, picture) => {
          const target = canvas.current;
          if (target === null) return;
          if (target.width !== picture.width) target.width = picture.width;
          if (target.height !== picture.height) target.height = picture.height;
          target.getContext('2d')?.drawImage(picture, 0, 0);
          target.dataset.frame = frame.id;
          onPaint?.();
        },
      }),
    [camera],
  );
  return <canvas ref={canvas} role="img" aria-label={`What camera ${camera} sees now`} hidden={isHidden} />;
}
