#!/usr/bin/env python3
"""Writes the boards of Grafana, `boards/*.json`: `python3 ops/grafana/boards.py`; `--check` only compares.

Invariant: thresholds are those of docs/alerts.md, names those of docs/metrics.md. The JSON is committed; nothing but Python is needed to write it.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

from panel import (BLUE, GREEN, RED, UP, WHILE_SENTINEL, WHILE_SESSION, WHILE_TRADING, YELLOW, YES, bars, board, heatmap, lines, quantiles, rate,  # noqa: E402
                   stat, steps, table)

NO_METRICSD, NO_SENTINEL, NO_SESSION = "no metricsd is scraped", "no sentinel is scraped", "no session lives"
NO_GATEWAY = "no order was sent: a dry run has no gateway"


def operations():
    ends = ["MetricsdDown", "SentinelDown", "AlertbridgeDown", "AlertmanagerDown"]
    return board("metricsd-operations", "Operations", "Is everything up, is it arriving, do alerts get out.", "up", [
        ("Is everything up", [
            stat("Targets", "Whether the last scrape of each target worked. A target that is not configured is not here: its alert asks for that.", "none",
                 ("up{@}", "{{job}} {{instance}}"), names=UP, empty="no target is scraped", runbooks=ends, width=12),
            stat("Alerting", "The always-firing alert. Without it the rules are not loaded, or not evaluated, and silence means nothing.", "none",
                 ('ALERTS{alertname="Watchdog", alertstate="firing"}', "Watchdog"), names={"1": ("works", GREEN)}, empty="no Watchdog: the rules do not run",
                 runbooks=["Watchdog", "AlertbridgeWatchdogMissing"], width=4),
            stat("Expected programs", "Programs that the configuration of metricsd expects, and whether one of each lives. metricsd answers also when none does.", "none",
                 ("metricsd_expected_program_live{@}", "{{program}}"), names={"0": ("not live", RED), "1": ("live", GREEN)},
                 empty="none is named in [expect] of metricsd", runbooks=["MetricsdExpectedProgramNotLive"], width=8),
            table("Alerts, pending and firing", "Of all jobs and instances, since an alert on a target that is gone has no instance. "
                  "Empty is good only while Alerting works.", "none", 'ALERTS{alertname!="Watchdog"}', ["Value"], empty="none, if Alerting works", width=24, height=6),
        ]),
        ("metricsd", [
            stat("Ready", "Whether the last collection could read the shard directory and the state.", "none", ("metricsd_ready{@}", "{{instance}}"),
                 names=YES, empty=NO_METRICSD, runbooks=["MetricsdNotReady"]),
            stat("Totals are durable", "Whether the state is on a local disk, apart from the shards.", "none", ("metricsd_state_durable{@}", "{{instance}}"),
                 names=YES, empty=NO_METRICSD, runbooks=["MetricsdStateNotDurable"]),
            stat("Ended processes are absorbed", "Whether shards of ended processes are absorbed into the archive and removed.", "none",
                 ("metricsd_retirement_enabled{@}", "{{instance}}"), names=YES, empty=NO_METRICSD, runbooks=["MetricsdRetirementOff"]),
            stat("Version", "What is running.", "none", ("metricsd_build_info{@}", "{{version}}"), names={"1": ("runs", BLUE)}, empty=NO_METRICSD),
            lines("Processes", "Processes behind the shards that still write, by program.", "short", ('metricsd_sessions{@, state="live"}', "{{program}}"),
                  empty="no program ever wrote a shard", runbooks=["MetricsdExpectedProgramNotLive"]),
            lines("Shards", "Shard files in the directory, by whether somebody still writes them. Those of ended processes go away within seconds.", "short",
                  ("metricsd_shards{@}", "{{state}}"), empty=NO_METRICSD, runbooks=["MetricsdRetirementOff"]),
            lines("Series", "Merged series on the page, and series that the archive has a value of.", "short", ("metricsd_series{@}", "served"),
                  ("metricsd_archived_series{@}", "archived"), empty=NO_METRICSD),
            lines("What is wrong now", "Shards that are not served or were deleted, processes that record into memory. All of it is 0 in health; "
                  "unreadable shards are absent until there is one.", "short", ("metricsd_unreadable_shards{@}", "unreadable: {{reason}}"),
                  ("metricsd_orphaned_shards{@}", "deleted by somebody"), ("metricsd_writers_degraded{@}", "degraded: {{program}}"),
                  at=steps(GREEN, (1, RED)), empty=NO_METRICSD, runbooks=["MetricsdShardsUnreadable", "MetricsdShardsDeleted", "MetricsdWritersDegraded"]),
            lines("What went wrong", "Failures around the state, series that were refused, shards that describe a family differently: how many a second. "
                  "The first of a kind is a step from nothing, which a rate does not see; the alerts do.", "ops",
                  (rate("metricsd_state_errors_total", "op"), "state: {{op}}"), (rate("metricsd_series_refused_total", "reason"), "refused: {{reason}}"),
                  (rate("metricsd_conflicts_total", "kind"), "conflict: {{kind}}"), empty="nothing went wrong since the start, or no metricsd is scraped",
                  runbooks=["MetricsdStateFailing", "MetricsdStateDamaged", "MetricsdSeriesRefused"]),
            lines("Time of a collection", "From the begin of a collection to its merged families.", "s", *quantiles("metricsd_collect_duration_seconds"), empty=NO_METRICSD),
        ]),
        ("Freshness", [
            lines("Since the last scrape that worked", "To a quarter of a minute. It grows while a target is down; after an hour the target is not here any more. "
                  "Ages are made here, from times: an age that a program exposed would freeze with it.", "s",
                  ("time() - max_over_time(timestamp(up{@} == 1)[1h:15s])", "{{job}} {{instance}}"), empty="no target was up in the last hour", runbooks=ends),
            lines("Since a program last moved", "Time since a collection saw any value of the program move. It grows when the program ends.", "s",
                  ("time() - metricsd_session_last_change_timestamp_seconds{@}", "{{program}}"), empty="no program ever moved", runbooks=["SessionNoStep"]),
            lines("Since a stage of the sentinel last worked", "A stage that has not worked yet is absent.", "s",
                  (f"(time() - sentinel_stage_last_success_timestamp_seconds{{@}}){WHILE_SENTINEL}", "{{stage}}"), empty="no stage has worked yet, or no sentinel is scraped",
                  runbooks=["SentinelCycleStalled"]),
            lines("Time of a scrape", "As Prometheus measured it. Near the time limit of the scrape, samples get lost.", "s",
                  ("scrape_duration_seconds{@}", "{{job}} {{instance}}"), empty="no target is scraped"),
            lines("Samples of a scrape", "A fall says that series went away.", "short", ("scrape_samples_scraped{@}", "{{job}} {{instance}}"), empty="no target is scraped"),
            lines("Memory", "In RAM, of every target that tells.", "bytes", ("process_resident_memory_bytes{@}", "{{job}} {{instance}}"), empty="no target tells"),
            lines("CPU", "Seconds of CPU a second, of every target that tells.", "percentunit", (rate("process_cpu_seconds_total", "job, instance"), "{{job}} {{instance}}"),
                  empty="no target tells"),
        ]),
        ("The path of an alert", [
            lines("Prometheus", "Alerts sent and dropped, and rules that could not be evaluated, a second.", "ops",
                  (rate("prometheus_notifications_sent_total", "instance"), "sent"), (rate("prometheus_notifications_dropped_total", "instance"), "dropped"),
                  (rate("prometheus_rule_evaluation_failures_total", "instance"), "rules that failed"), empty="Prometheus does not scrape itself",
                  runbooks=["PrometheusAlertsDropped", "PrometheusRulesFailing"]),
            lines("Alertmanager", "Notifications, and those that failed, a second.", "ops",
                  (rate("alertmanager_notifications_total", "integration", ', integration="webhook"'), "{{integration}}"),
                  (rate("alertmanager_notifications_failed_total", "integration", ', integration="webhook"'), "{{integration}}, failed"),
                  empty="no Alertmanager is scraped", runbooks=["AlertmanagerNotificationsFailing"]),
            lines("Attempts of the bridge", "Attempts to send a message, by target's kind and what came of them, a second.", "ops",
                  (rate("alertbridge_send_attempts_total", "kind, outcome"), "{{kind}}: {{outcome}}"), empty="nothing was sent yet, or no bridge is scraped",
                  runbooks=["AlertbridgeDeliveryFailing"]),
            stat("Waiting alerts", "Alerts that the bridge accepted and that are not delivered.", "short", ("alertbridge_queue_alerts{@}", "{{instance}}"),
                 at=steps(GREEN, (1, YELLOW)), empty="no bridge is scraped", runbooks=["AlertbridgeQueueOld"]),
            stat("Oldest waiting alert", "Its age; red when the alert on it fires.", "s", ("time() - (alertbridge_queue_oldest_timestamp_seconds{@} > 0)", "{{instance}}"),
                 at=steps(YELLOW, (300, RED)), empty="none waits, if there is a number of waiting alerts", runbooks=["AlertbridgeQueueOld"]),
            stat("Targets that refuse", "Only a person can change it: a wrong secret, a keyword, an address.", "short", ("alertbridge_refused_targets{@}", "{{kind}}"),
                 at=steps(GREEN, (1, RED)), empty="no bridge is scraped", runbooks=["AlertbridgeTargetRefuses"]),
            stat("The queue takes alerts", "Whether the last write of the queue worked.", "none", ("alertbridge_queue_writable{@}", "{{instance}}"), names=YES,
                 empty="no bridge is scraped", runbooks=["AlertbridgeQueueNotWritable"]),
            lines("Time to deliver", "From the acceptance of an alert to the message that its target took.", "s", *quantiles("alertbridge_delivery_delay_seconds"),
                  empty="nothing was delivered in the time shown, or no bridge is scraped", runbooks=["AlertbridgeQueueOld"]),
            stat("Alerts of no target", "Waiting alerts of targets that are not in the configuration any more.", "short", ("alertbridge_orphaned_alerts{@}", "{{instance}}"),
                 at=steps(GREEN, (1, YELLOW)), empty="no bridge is scraped", runbooks=["AlertbridgeOrphanedAlerts"], width=8),
            stat("The configuration was read", "Whether the last reading of the configuration of the bridge worked.", "none",
                 ("alertbridge_config_last_reload_successful{@}", "{{instance}}"), names=YES, empty="no bridge is scraped", runbooks=["AlertbridgeReloadFailed"], width=8),
        ]),
    ])


def trading():
    breaker = f'max by (job, instance, endpoint) (sentinel_circuit_breaker_state{{@, state="open"}}){WHILE_SENTINEL}'
    return board("metricsd-trading", "Trading", "What the sentinel does: cycles, stages, predictions, signals, orders.", "sentinel_trading_cycles_total", [
        ("State", [
            stat("May it trade", "What may be sent.", "none", (f"(sentinel_trading_state{{@}} == 1){WHILE_SENTINEL}", "{{state}}"),
                 names={"1": ("in force", BLUE)}, empty=NO_SENTINEL, runbooks=["SentinelTradingHalted"]),
            stat("Circuit breakers", "Open: a remote failed three times in a row and is left alone for now.", "none", (breaker, "{{endpoint}}"),
                 names={"0": ("not open", GREEN), "1": ("OPEN", RED)}, empty=NO_SENTINEL, runbooks=["SentinelBreakerOpen"]),
            stat("Next cycle in", "Time until the next cycle should have completed; red when it is late.", "s",
                 ("(sentinel_next_cycle_due_timestamp_seconds{@} - time())" + WHILE_SENTINEL, "{{instance}}"), at=steps(RED, (-30, YELLOW), (0, GREEN)),
                 empty=NO_SENTINEL, runbooks=["SentinelCycleStalled"]),
            stat("Next bar in", "Time until the next bar should be there, by the market's calendar; red when the alert on it is near.", "s",
                 ("(sentinel_next_bar_due_timestamp_seconds{@} - time())" + WHILE_SENTINEL, "{{source}}"), at=steps(RED, (-120, YELLOW), (0, GREEN)),
                 empty=NO_SENTINEL, runbooks=["SentinelMarketDataStale"]),
            table("Model in use", "The model that predicts, and where it comes from.", "none", "sentinel_model_info{@} == 1", ["Value"], empty=NO_SENTINEL,
                  runbooks=["SentinelModelChanged", "SentinelFallbackModel"], width=12, height=4),
            stat("Version", "What is running.", "none", ("sentinel_build_info{@}", "{{version}}"), names={"1": ("runs", BLUE)}, empty=NO_SENTINEL),
            stat("Runs for", "Time since the start of the sentinel.", "s", (f"sentinel_daemon_uptime_seconds{{@}}{WHILE_SENTINEL}", "{{instance}}"), empty=NO_SENTINEL),
        ]),
        ("Cycles and stages", [
            lines("Cycles", "Cycles completed and cycles in which a stage failed, a second.", "ops", (rate("sentinel_trading_cycles_total", "instance"), "completed"),
                  (rate("sentinel_trading_cycles_failed_total", "instance"), "failed"), empty=NO_SENTINEL, runbooks=["SentinelCyclesFailing"]),
            lines("Failed cycles, share", "Of the cycles in the window; absent when none ran.", "percentunit",
                  (rate("sentinel_trading_cycles_failed_total", "instance") + " / (" + rate("sentinel_trading_cycles_total", "instance") + " > 0)", "failed"),
                  empty="no cycle ran in the time shown", runbooks=["SentinelCyclesFailing"], defaults={"max": 1}),
            lines("Cycles without a decision", "Scheduled cycles that did not run, or had nothing to do, by reason, a second.", "ops",
                  (rate("sentinel_cycles_skipped_total", "reason"), "{{reason}}"), stack=True, empty=NO_SENTINEL, runbooks=["SentinelCycleOverrun"]),
            lines("Time of a cycle", "All stages together.", "s", *quantiles("sentinel_trading_cycle_duration_seconds"), empty="no cycle ran in the time shown",
                  runbooks=["SentinelCycleOverrun"]),
            lines("Time of a fetch", "Of a call for bars, failed ones included.", "s", *quantiles("sentinel_data_fetch_duration_seconds"),
                  empty="nothing was fetched in the time shown"),
            lines("Time of the features", "Of building one set.", "s", *quantiles("sentinel_feature_build_duration_seconds"), empty="no features were built in the time shown"),
            lines("Calls of remotes that failed", "By remote and reason, a second.", "ops", (rate("sentinel_api_errors_total", "endpoint, error_code"), "{{endpoint}}: {{error_code}}"),
                  stack=True, empty="none failed since the start, or no sentinel is scraped", runbooks=["SentinelBreakerOpen"]),
            lines("Calls of remotes", "Calls that were made, a second.", "ops", (rate("sentinel_api_calls_total", "endpoint"), "{{endpoint}}"), stack=True, empty=NO_SENTINEL),
            lines("Defects of bars", "By kind, a second.", "ops", (rate("sentinel_market_data_defects_total", "defect"), "{{defect}}"), stack=True,
                  empty="no defect since the start, or no sentinel is scraped", runbooks=["SentinelMarketDataDefects"]),
            lines("Age of the newest bar", "Since it opened. Whether that is late is what Next bar says.", "s",
                  (f"(time() - sentinel_last_bar_timestamp_seconds{{@}}){WHILE_SENTINEL}", "{{source}}"), empty="no bar was accepted yet", runbooks=["SentinelMarketDataStale"]),
            lines("Clock, less another machine's", "Absent while nothing tells its time.", "s", (f"sentinel_clock_offset_seconds{{@}}{WHILE_SENTINEL}", "{{reference}}"),
                  at=steps(RED, (-2, GREEN), (2, RED)), from_zero=False, empty="nothing tells its time: there is neither hub nor gateway", runbooks=["SentinelClockSkew"]),
        ]),
        ("Predictions", [
            lines("Predictions", "Asked for, and asked for in vain, a second.", "ops", (rate("sentinel_prediction_requests_total", "instance"), "asked for"),
                  (rate("sentinel_prediction_failures_total", "instance"), "not usable"), empty=NO_SENTINEL),
            lines("Time of a prediction", "Failed ones included. The line is that of the alert on the 95th percentile.", "s", *quantiles("sentinel_prediction_latency_seconds"),
                  at=steps(GREEN, (0.8, YELLOW)), empty="nothing was predicted in the time shown", runbooks=["SentinelPredictionSlow"]),
            heatmap("Confidence", "Winning probability of usable predictions, by how many there were a second.", "percentunit",
                    "sum by (le) (rate(sentinel_prediction_confidence_ratio_bucket{@}[$__rate_interval]))", empty=NO_SENTINEL, runbooks=["SentinelSilentHold"]),
            lines("Drift", "Population stability index of recent predictions against the training data: from 0.1 on worth a look, above 0.25 an alert.", "none",
                  (f"sentinel_prediction_population_stability_index{{@}}{WHILE_SENTINEL}", "PSI"), at=steps(GREEN, (0.1, YELLOW), (0.25, RED)),
                  empty="not known before 100 predictions, nor for a model without a reference", runbooks=["SentinelPredictionDrift"], width=16),
            stat("Last confidence", "Winning probability of the last usable prediction; 0 before the first.", "percentunit",
                 (f"sentinel_last_prediction_confidence{{@}}{WHILE_SENTINEL}", "{{instance}}"), empty=NO_SENTINEL, width=8, height=7),
        ]),
        ("Signals", [
            lines("Decisions", "Each decided bar once: HOLD, and BUY or SELL on fresh data above the threshold; a second.", "ops",
                  (rate("sentinel_trading_signals_total", "action"), "{{action}}"), stack=True, empty=NO_SENTINEL, runbooks=["SentinelSilentHold"]),
            lines("Kept from being sent", "BUY or SELL decisions that a guard kept from being sent, by reason, a second.", "ops",
                  (rate("sentinel_signals_suppressed_total", "reason"), "{{reason}}"), stack=True, empty=NO_SENTINEL, runbooks=["SentinelSilentHold"]),
            bars("From decision to execution", "Counts of the time shown. What was decided and not executed is in the panel before.", "short",
                 ('sum by (action) (increase(sentinel_trading_signals_total{@}[$__range]))', "decided {{action}}"),
                 ('sum by (action) (increase(sentinel_trading_signals_executed_total{@}[$__range]))', "executed {{action}}"), empty=NO_SENTINEL, defaults={"min": 0, "decimals": 0}),
        ]),
        ("Orders and the gateway", [
            lines("Results", "What came of orders that were handed over, a second.", "ops", (rate("sentinel_order_results_total", "result"), "{{result}}"), stack=True,
                  empty=NO_GATEWAY, runbooks=["SentinelOrderRejects", "SentinelOrderTimeouts"]),
            lines("Rejected, share", "Of the last quarter of an hour, as the alert sees it.", "percentunit", ("job:sentinel_orders_rejected:ratio_rate15m{@}", "rejected"),
                  at=steps(GREEN, (0.2, YELLOW)), empty=NO_GATEWAY, runbooks=["SentinelOrderRejects"], defaults={"max": 1}),
            lines("Never handed over", "Orders that could not be handed over and never will be, a second.", "ops", (rate("sentinel_zmq_send_failures_total", "instance"), "failed"),
                  empty=NO_SENTINEL, runbooks=["SentinelGatewayLost"]),
            lines("Time to the reply", "From sending an order to the reply.", "s", *quantiles("sentinel_order_roundtrip_seconds"), empty=NO_GATEWAY,
                  runbooks=["SentinelOrderTimeouts"]),
            lines("Slippage", "Fill price against decision price in basis points, positive is adverse. The line is that of the alert on the 95th percentile of an hour.",
                  "suffix: bp", *quantiles("sentinel_order_slippage_basis_points")[:2], at=steps(GREEN, (10, YELLOW)), from_zero=False, empty=NO_GATEWAY,
                  runbooks=["SentinelSlippageHigh"]),
            stat("Since the gateway's heartbeat", "Red when the alert on it is near.", "s",
                 (f"(time() - sentinel_gateway_last_heartbeat_timestamp_seconds{{@}}){WHILE_SENTINEL}", "{{instance}}"), at=steps(GREEN, (30, YELLOW), (60, RED)),
                 empty="no gateway: a dry run", runbooks=["SentinelGatewayLost"], width=8, height=7),
        ]),
    ])


def risk():
    limits = "peaktrade_risk_limit_utilization"
    of_sentinel = "sentinel_risk_limit_utilization_ratio"
    near = steps(GREEN, (0.8, YELLOW), (1, RED))
    deep = steps(GREEN, (0.05, YELLOW), (0.1, RED))
    share = {"defaults": {"min": 0, "max": 1}}
    return board("metricsd-risk-and-sessions", "Risk and sessions", "How near the limits are, what was blocked, and what the sessions do.",
                 '{__name__=~"metricsd_build_info|sentinel_trading_cycles_total"}', [
        ("Limits", [
            bars("Limits of sessions", "Share in use, clamped to 1. While a session lives; a limit that is not set is absent. max_order_notional is that of the last order.",
                 "percentunit", (f"max by (job, instance, limit_id) ({limits}{{@}}){WHILE_TRADING}", "{{limit_id}}"), at=near, empty=NO_SESSION,
                 runbooks=["SessionRiskLimitNear", "SessionRiskLimitReached"], **share),
            lines("Limits of sessions, over time", "Without max_order_notional, which is the last order's and no state.", "percentunit",
                  (f'max by (job, instance, limit_id) ({limits}{{@, limit_id!="max_order_notional"}}){WHILE_TRADING}', "{{limit_id}}"), at=near, empty=NO_SESSION,
                  runbooks=["SessionRiskLimitNear", "SessionRiskLimitReached"], width=16, defaults={"max": 1}),
            bars("Limits of the sentinel", "Share in use; 0 in a dry run, which holds nothing.", "percentunit",
                 (f"max by (job, instance, limit_id) ({of_sentinel}{{@}}){WHILE_SENTINEL}", "{{limit_id}}"), at=near, empty=NO_SENTINEL,
                 runbooks=["SentinelRiskLimitNear"], **share),
            lines("Drawdown of sessions", "Fall of equity from its peak, to the peak. While a session lives.", "percentunit",
                  (f"shadow_session_drawdown_ratio{{@}}{WHILE_SESSION}", "{{strategy_id}}"), at=deep, empty=NO_SESSION, runbooks=["SessionDrawdown", "SessionDrawdownDeep"]),
            lines("Drawdown of the sentinel's account", "0 in a dry run, which holds nothing.", "percentunit",
                  (f"sentinel_account_drawdown_ratio{{@}}{WHILE_SENTINEL}", "{{instance}}"), empty=NO_SENTINEL, runbooks=["SentinelTradingHalted"]),
        ]),
        ("Checks and blocks", [
            lines("Checks", "Risk evaluations, by check and strictest result, a second.", "ops", (rate("peaktrade_risk_checks_total", "check, result"), "{{check}}: {{result}}"),
                  stack=True, empty="nothing was checked yet, or no metricsd is scraped", runbooks=["SessionRiskBlocks"]),
            lines("Blocks", "Breached limits of blocked orders, by reason, a second.", "ops", (rate("peaktrade_risk_blocks_total", "reason"), "{{reason}}"), stack=True,
                  empty="nothing was blocked yet, or no metricsd is scraped", runbooks=["SessionRiskBlocks"]),
            bars("Blocks of the time shown", "By reason.", "short", ("sum by (reason) (increase(peaktrade_risk_blocks_total{@}[$__range]))", "{{reason}}"),
                 empty="nothing was blocked yet, or no metricsd is scraped", runbooks=["SessionRiskBlocks"], defaults={"min": 0, "decimals": 0}),
        ]),
        ("Strategies", [
            lines("Signals", "Changes of the signal, by strategy and the new signal, a second.", "ops",
                  (rate("peaktrade_strategy_signals_total", "strategy_id, signal"), "{{strategy_id}}: {{signal}}"), stack=True, empty="no signal yet, or no metricsd is scraped"),
            lines("Decisions", "Orders by reason, before the risk check, a second.", "ops",
                  (rate("peaktrade_strategy_decisions_total", "strategy_id, decision"), "{{strategy_id}}: {{decision}}"), stack=True,
                  empty="no decision yet, or no metricsd is scraped"),
            lines("Gross exposure", "Absolute position times last close, by quote currency. While a session lives.", "short",
                  (f"max by (job, instance, strategy_id, ccy) (peaktrade_strategy_position_gross_exposure{{@}}){WHILE_TRADING}", "{{strategy_id}} {{ccy}}"), empty=NO_SESSION),
            lines("Equity", "Equity to starting balance. While a session lives.", "percentunit", (f"shadow_session_equity_ratio{{@}}{WHILE_SESSION}", "{{strategy_id}}"),
                  from_zero=False, empty=NO_SESSION, runbooks=["SessionDrawdown"]),
            lines("Profit and loss", "Realised less fees, and unrealised, to starting balance. While a session lives.", "percentunit",
                  (f"shadow_session_realized_pnl_ratio{{@}}{WHILE_SESSION}", "realised: {{strategy_id}}"),
                  (f"shadow_session_unrealized_pnl_ratio{{@}}{WHILE_SESSION}", "unrealised: {{strategy_id}}"), from_zero=False, empty=NO_SESSION),
            lines("Orders and fills", "Orders by what became of them, fills by side, a second.", "ops", (rate("shadow_session_orders_total", "result"), "{{result}}"),
                  (rate("shadow_session_fills_total", "side"), "fill: {{side}}"), empty="no order yet, or no metricsd is scraped"),
        ]),
        ("Sessions", [
            stat("Sessions that live", "Processes of shadow-session that still write.", "short", ('metricsd_sessions{@, program="shadow-session", state="live"}', "{{instance}}"),
                 at=steps(YELLOW, (1, GREEN)), empty="no session ever ran, or no metricsd is scraped", runbooks=["SessionKilled"]),
            stat("Next candle in", "Time until the next candle should have come; red when the alert on it is near. A session that ended in order has none.", "s",
                 (f"((shadow_session_next_candle_due_timestamp_seconds{{@}} > 0) - time()){WHILE_SESSION}", "{{instance}}"), at=steps(RED, (-60, YELLOW), (0, GREEN)),
                 empty=NO_SESSION, runbooks=["SessionCandleOverdue"]),
            stat("Since the last step", "Of a session that lives.", "s", (f"(time() - shadow_session_last_step_timestamp_seconds{{@}}){WHILE_SESSION}", "{{instance}}"),
                 empty=NO_SESSION, runbooks=["SessionNoStep"]),
            stat("Telemetry is seen", "Whether what the session records can be seen from outside.", "none", (f"shadow_session_telemetry_degraded{{@}}{WHILE_SESSION}", "{{instance}}"),
                 names={"0": ("yes", GREEN), "1": ("no", RED)}, empty=NO_SESSION, runbooks=["MetricsdWritersDegraded"]),
            lines("Steps", "Closed candles stepped through, a second.", "ops", (rate("shadow_session_steps_total", "instance"), "steps"), empty="no session ever ran, or no metricsd is scraped",
                  runbooks=["SessionNoStep"]),
            lines("Time of a step", "Fills, worth, strategy, risk, orders.", "s", *quantiles("shadow_session_step_duration_seconds"), empty="no step in the time shown"),
            lines("Defects", "Defects of candles, failed writes of the run log, calls that telemetry refused, a second.", "ops",
                  (rate("shadow_session_candle_defects_total", "defect"), "candle: {{defect}}"), (rate("shadow_session_run_log_errors_total", "instance"), "run log"),
                  (rate("shadow_session_telemetry_defects_total", "defect"), "telemetry: {{defect}}"), stack=True, empty="none yet, or no metricsd is scraped",
                  runbooks=["SessionRunLogFailing"]),
        ]),
    ])


def main():
    folder = pathlib.Path(__file__).parent / "boards"
    stale = []
    for made in (operations(), trading(), risk()):
        path = folder / f"{made['uid'].removeprefix('metricsd-')}.json"
        text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"{', '.join(stale)}: not what boards.py makes; run it without --check")


if __name__ == "__main__":
    main()
