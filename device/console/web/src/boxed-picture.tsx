import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { FrameInfo, GroundedBox } from '../../api/schemas.js';
import { frameAddress } from './api.js';

export interface BoxedPictureProps {
  readonly frame: FrameInfo;
  readonly camera?: string | null | undefined;
  readonly run?: string | undefined;
  readonly objects?: readonly GroundedBox[] | undefined;
  readonly alt: string;
  readonly isThumbnail?: boolean | undefined;
  /** Address of a heat map that lies over the picture. */
  readonly heat?: string | undefined;
  /** Drawn over the picture, below the boxes. */
  readonly children?: ComponentChildren;
}

/** A picture with the boxes that belong to this very frame. */
export function BoxedPicture({ frame, camera, run, objects = [], alt, isThumbnail, heat, children }: BoxedPictureProps) {
  const [missing, setMissing] = useState<string>();
  const address = frameAddress(frame.id, { run, camera, isThumbnail });
  // Room for it before it is there: nothing jumps.
  const shape = { aspectRatio: `${frame.width} / ${frame.height}` };
  return (
    <div class="picture" style={shape}>
      {missing === address ? (
        <p class="absent">This picture is not kept.</p>
      ) : (
        <img src={address} alt={alt} loading="lazy" onError={() => setMissing(address)} />
      )}
      {heat !== undefined && <img class="heat" src={heat} alt="Where the model looks, the brighter the more" />}
      {children}
      {objects.map(({ label, box, trackId }, index) => (
        <span key={`${label} ${index}`} class="box" data-label={label} style={place(box)}>
          <span class={box.y1 < 0.08 ? 'label inside' : 'label'}>
            {label}
            {trackId === undefined ? '' : ` #${trackId}`}
          </span>
        </span>
      ))}
    </div>
  );
}

function place({ x1, y1, x2, y2 }: GroundedBox['box']) {
  const percent = (value: number) => `${(100 * value).toFixed(2)}%`;
  return { left: percent(x1), top: percent(y1), width: percent(x2 - x1), height: percent(y2 - y1) };
}
