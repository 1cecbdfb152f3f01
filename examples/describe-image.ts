import { loadModel, openCamera } from 'scenebus';

await using camera = await openCamera('examples/clips/tabletop.mp4');
await using model = await loadModel('examples/demo-model/checkpoint');
const answer = await model.ask(await camera.read(), 'Where is the red cup?');
console.log(answer.text, answer.objects);
