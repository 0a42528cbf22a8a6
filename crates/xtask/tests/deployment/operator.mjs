// Resources of the Prometheus Operator as JSON on standard input, judged by the schemas that @kubernetes-models/prometheus-operator has of its
// CRDs: types and required keys. It does not refuse keys that it does not know.
import { text } from "node:stream/consumers";

const models = `${process.argv[2]}/node_modules/@kubernetes-models/prometheus-operator`;
const faults = [];
for (const resource of JSON.parse(await text(process.stdin))) {
  const of = `${resource.kind} ${resource.metadata.name}`;
  const model = await import(`${models}/${resource.apiVersion}/${resource.kind}.js`);
  try {
    new model[resource.kind](resource).validate();
  } catch (error) {
    faults.push(`${of}: ${error.message}`);
  }
}
process.stdout.write(faults.join("\n"));
process.exitCode = faults.length > 0 ? 1 : 0;
