import type { CameraState } from '../../../../api/schemas.js';

/** Where the configuration covers the picture: nobody sees what is below, and everybody sees that something is. */
export function MaskOutlines({ masks }: { readonly masks: CameraState['masks'] }) {
  if (masks.length === 0) return null;
  const count = `${masks.length} privacy ${masks.length === 1 ? 'mask' : 'masks'}`;
  return (
    <svg class="mask-outlines" viewBox="0 0 1 1" preserveAspectRatio="none" role="img" aria-label={count}>
      {masks.map((corners) => {
        const points = corners.map(({ x, y }) => `${x},${y}`).join(' ');
        return <polygon key={points} points={points} vector-effect="non-scaling-stroke" />;
      })}
    </svg>
  );
}
