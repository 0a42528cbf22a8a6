// What a board has to be, in the types that Grafana publishes. The test writes each board beside this as a literal of type `Board`, so that
// an unknown key is an error as well as a wrong type.
import type { Dashboard, FieldConfigSource, Panel, RowPanel, VariableModel, AnnotationContainer, GraphFieldConfig } from '@grafana/schema';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as BarGauge } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { Options as Table } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { Options as Heatmap } from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type { Options as TimeSeries } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has the values of enums, not their names.
type Json<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : unknown extends T ? T : T extends Array<infer Item> ? Array<Json<Item>> : T extends object ? { [Key in keyof T]: Json<T[Key]> } : T;

// The package has no type for a query of Prometheus: these are the keys that its editor writes.
interface Query {
  refId: string;
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  editorMode: 'code';
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
  format: 'time_series' | 'table' | 'heatmap';
}

type Common = Omit<Json<Panel>, 'type' | 'options' | 'targets' | 'fieldConfig'> & { targets: Query[] };
type Config<Custom> = { defaults: Omit<Json<FieldConfigSource>['defaults'], 'custom'> & Custom; overrides: never[] };
type Kind<Type extends string, Options, Custom = {}> = Common & { type: Type; options: Json<Options>; fieldConfig: Config<Custom> };

type Shown =
  | Kind<'stat', Stat>
  | Kind<'bargauge', BarGauge>
  | Kind<'table', Table>
  // The type of the package asks for all of an axis; Grafana's own boards leave most of it out.
  | Kind<'heatmap', Omit<Heatmap, 'yAxis' | 'tooltip'> & { yAxis: Partial<Heatmap['yAxis']>; tooltip: Heatmap['tooltip'] }>
  | Kind<'timeseries', TimeSeries, { custom: Json<GraphFieldConfig> }>
  | Json<RowPanel>;

export type Board = Omit<Json<Dashboard>, 'panels' | 'templating' | 'annotations' | 'editable'> & {
  editable: false;
  panels: Shown[];
  templating: { list: Array<Json<VariableModel>> };
  annotations: Json<AnnotationContainer>;
};
