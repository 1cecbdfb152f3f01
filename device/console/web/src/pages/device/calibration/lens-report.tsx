import { useEffect, useState } from 'preact/hooks';
import type { LensResult } from '../../../../../api/calibration-schemas.js';

/** What was measured, how well, and the file to keep. */
export function LensReport({ camera, result }: { readonly camera: string; readonly result: LensResult }) {
  const [address, setAddress] = useState('');
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([result.cameraInfo], { type: 'application/yaml' }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [result]);
  const { fx, fy, fxSigma, rmsPixels, width, height, views, leftOut, warnings } = result;
  return (
    <section aria-label="Result">
      <h2>The lens of {camera}</h2>
      <dl class="facts-list">
        <div>
          <dt>Focal length, pixels</dt>
          <dd>
            {fx.toFixed(1)} × {fy.toFixed(1)}
            {fxSigma !== null && ` ± ${fxSigma.toFixed(1)}`}
          </dd>
        </div>
        <div>
          <dt>Error, pixels</dt>
          <dd>{rmsPixels.toFixed(2)}</dd>
        </div>
        <div>
          <dt>For pictures of</dt>
          <dd>
            {width} × {height}
          </dd>
        </div>
        <div>
          <dt>From</dt>
          <dd>
            {views} pictures{leftOut > 0 && `, ${leftOut} left out`}
          </dd>
        </div>
      </dl>
      {warnings.map((warning) => (
        <p key={warning} class="hint">
          {warning}
        </p>
      ))}
      <p>
        Keep the file beside the configuration, and name it there as <code>intrinsics</code> of this camera. It is ROS's{' '}
        <code>camera_info</code>.
      </p>
      <a class="button" href={address} download={`${camera}.yaml`}>
        Download the calibration
      </a>
    </section>
  );
}
