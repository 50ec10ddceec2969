-- Where the topics stand: all records of a partition before `next` are in the tables below. The
-- writer of a partition counts `version` up with each of its transactions. Often updated, so half of
-- a page is left for that.
CREATE TABLE "positions" (
    "topic" text COLLATE "C" NOT NULL,
    "partition" integer NOT NULL,
    "deployment" text COLLATE "C" NOT NULL,
    "next" bigint,
    "topic_id" text COLLATE "C",
    "writer" text COLLATE "C" NOT NULL,
    "version" bigint NOT NULL,
    "changed" timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY ("topic", "partition")
) WITH (fillfactor = 50);

CREATE TABLE "ticks" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "price" double precision NOT NULL,
    "size" double precision NOT NULL,
    "event_time" bigint NOT NULL,
    "trade_id" text COLLATE "C",
    "sequence" bigint,
    "venue" text COLLATE "C",
    "conditions" text[] NOT NULL,
    "source" text COLLATE "C",
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "moment", "log_partition", "log_offset")
);
CREATE INDEX ON "ticks" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "quotes" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "bid" double precision NOT NULL,
    "ask" double precision NOT NULL,
    "event_time" bigint NOT NULL,
    "bid_size" double precision NOT NULL,
    "ask_size" double precision NOT NULL,
    "sequence" bigint,
    "venue" text COLLATE "C",
    "source" text COLLATE "C",
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "moment", "log_partition", "log_offset")
);
CREATE INDEX ON "quotes" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "transactions" (
    "moment" timestamp with time zone NOT NULL,
    "account" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "side" text COLLATE "C" NOT NULL,
    "quantity" double precision NOT NULL,
    "price" double precision NOT NULL,
    "event_time" bigint NOT NULL,
    "transaction_id" text COLLATE "C" NOT NULL,
    "fee" double precision NOT NULL,
    "currency" text COLLATE "C",
    "source" text COLLATE "C",
    "partition" bigint,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("account", "moment", "log_partition", "log_offset")
);
CREATE INDEX ON "transactions" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "bars" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "vwap" double precision,
    "trades" bigint NOT NULL,
    "revision" bigint NOT NULL,
    "is_final" boolean NOT NULL,
    "filled" boolean NOT NULL,
    "sources" text[] NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "interval", "moment", "start")
);
CREATE INDEX ON "bars" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "quotes_bars" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "bid_open" double precision NOT NULL,
    "bid_high" double precision NOT NULL,
    "bid_low" double precision NOT NULL,
    "bid_close" double precision NOT NULL,
    "ask_open" double precision NOT NULL,
    "ask_high" double precision NOT NULL,
    "ask_low" double precision NOT NULL,
    "ask_close" double precision NOT NULL,
    "mid_open" double precision NOT NULL,
    "mid_high" double precision NOT NULL,
    "mid_low" double precision NOT NULL,
    "mid_close" double precision NOT NULL,
    "bid_size" double precision NOT NULL,
    "ask_size" double precision NOT NULL,
    "spread" double precision NOT NULL,
    "quotes" bigint NOT NULL,
    "revision" bigint NOT NULL,
    "is_final" boolean NOT NULL,
    "sources" text[] NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "interval", "moment", "start")
);
CREATE INDEX ON "quotes_bars" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "activity" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "number" bigint NOT NULL,
    "start" bigint NOT NULL,
    "end" bigint NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "vwap" double precision,
    "trades" bigint NOT NULL,
    "revision" bigint NOT NULL,
    "is_final" boolean NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "interval", "moment", "number")
);
CREATE INDEX ON "activity" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "indicators" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "revision" bigint NOT NULL,
    "exact" boolean NOT NULL,
    "values" jsonb NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "interval", "moment", "start")
);
CREATE INDEX ON "indicators" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "features" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "kind" text COLLATE "C" NOT NULL,
    "window" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "end" bigint NOT NULL,
    "complete" boolean NOT NULL,
    "values" jsonb NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "kind", "window", "moment", "start")
);
CREATE INDEX ON "features" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "anomalies" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "revision" bigint NOT NULL,
    "source" text COLLATE "C" NOT NULL,
    "score" double precision NOT NULL,
    "threshold" double precision NOT NULL,
    "is_anomaly" boolean NOT NULL,
    "reason" text COLLATE "C" NOT NULL,
    "rules" text[] NOT NULL,
    "features" jsonb NOT NULL,
    "learned" boolean NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "source", "interval", "moment", "start")
);
CREATE INDEX ON "anomalies" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "quality" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "kind" text COLLATE "C" NOT NULL,
    "event_time" bigint NOT NULL,
    "offset" bigint NOT NULL,
    "session" bigint NOT NULL,
    "severity" text COLLATE "C" NOT NULL,
    "value" double precision,
    "limit" double precision,
    "details" jsonb NOT NULL,
    "input" text COLLATE "C" NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "input", "kind", "moment", "offset")
);
CREATE INDEX ON "quality" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "pairs" (
    "moment" timestamp with time zone NOT NULL,
    "pair" text COLLATE "C" NOT NULL,
    "first" text COLLATE "C" NOT NULL,
    "second" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "first_close" double precision,
    "second_close" double precision,
    "spread" double precision,
    "ratio" double precision,
    "score" double precision,
    "correlation" double precision,
    "beta" double precision,
    "revision" bigint NOT NULL,
    "void" boolean NOT NULL,
    "left_out" bigint NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("pair", "moment", "start")
);
CREATE INDEX ON "pairs" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "portfolio_positions" (
    "moment" timestamp with time zone NOT NULL,
    "account" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "time" bigint NOT NULL,
    "cause" text COLLATE "C" NOT NULL,
    "cause_id" text COLLATE "C",
    "quantity" double precision NOT NULL,
    "average_price" double precision,
    "cost" double precision NOT NULL,
    "realised" double precision NOT NULL,
    "fees" double precision NOT NULL,
    "income" double precision NOT NULL,
    "price" double precision,
    "price_time" bigint,
    "price_age" bigint,
    "market_value" double precision,
    "unrealised" double precision,
    "exposure" double precision,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "account", "moment", "log_partition", "log_offset")
);
CREATE INDEX ON "portfolio_positions" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "portfolio_values" (
    "moment" timestamp with time zone NOT NULL,
    "account" text COLLATE "C" NOT NULL,
    "time" bigint NOT NULL,
    "cause" text COLLATE "C" NOT NULL,
    "cause_id" text COLLATE "C",
    "cash" double precision NOT NULL,
    "market_value" double precision NOT NULL,
    "equity" double precision NOT NULL,
    "net_contributions" double precision NOT NULL,
    "realised" double precision NOT NULL,
    "unrealised" double precision NOT NULL,
    "income" double precision NOT NULL,
    "fees" double precision NOT NULL,
    "pnl" double precision NOT NULL,
    "session_pnl" double precision NOT NULL,
    "gross_exposure" double precision NOT NULL,
    "net_exposure" double precision NOT NULL,
    "leverage" double precision,
    "positions" bigint NOT NULL,
    "unpriced" bigint NOT NULL,
    "oldest_price_time" bigint,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("account", "moment", "log_partition", "log_offset")
);
CREATE INDEX ON "portfolio_values" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "portfolio_limits" (
    "moment" timestamp with time zone NOT NULL,
    "account" text COLLATE "C" NOT NULL,
    "limit" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C",
    "time" bigint NOT NULL,
    "cause" text COLLATE "C" NOT NULL,
    "cause_id" text COLLATE "C",
    "state" text COLLATE "C" NOT NULL,
    "value" double precision,
    "threshold" double precision,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("account", "moment", "log_partition", "log_offset")
);
CREATE INDEX ON "portfolio_limits" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "predictions" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "revision" bigint NOT NULL,
    "exact" boolean NOT NULL,
    "model" text COLLATE "C" NOT NULL,
    "horizon" bigint NOT NULL,
    "alias" text COLLATE "C" NOT NULL,
    "version" bigint NOT NULL,
    "prediction" double precision,
    "low" double precision,
    "high" double precision,
    "others" jsonb NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "interval", "model", "moment", "start")
);
CREATE INDEX ON "predictions" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "predictions_outcomes" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "start" bigint NOT NULL,
    "model" text COLLATE "C" NOT NULL,
    "alias" text COLLATE "C" NOT NULL,
    "version" bigint NOT NULL,
    "served" boolean NOT NULL,
    "horizon" bigint NOT NULL,
    "prediction" double precision NOT NULL,
    "low" double precision,
    "high" double precision,
    "target" double precision NOT NULL,
    "error" double precision NOT NULL,
    "inside" boolean,
    "previous" double precision,
    "realised" bigint NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "interval", "model", "alias", "moment", "version", "start")
);
CREATE INDEX ON "predictions_outcomes" USING brin ("moment") WITH (autosummarize = on);

CREATE TABLE "quality_summaries" (
    "moment" timestamp with time zone NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "session" bigint NOT NULL,
    "start" bigint NOT NULL,
    "end" bigint NOT NULL,
    "open" bigint,
    "close" bigint,
    "first_time" bigint,
    "last_time" bigint,
    "method" text COLLATE "C" NOT NULL,
    "expected" bigint NOT NULL,
    "seen" bigint NOT NULL,
    "completeness" double precision,
    "longest_gap" bigint NOT NULL,
    "lag_p50" bigint,
    "lag_p95" bigint,
    "lag_p99" bigint,
    "lags" bigint[] NOT NULL,
    "counts" jsonb NOT NULL,
    "revision" bigint NOT NULL,
    "is_final" boolean NOT NULL,
    "input" text COLLATE "C" NOT NULL,
    "log_partition" integer NOT NULL,
    "log_offset" bigint NOT NULL,
    "append_time" bigint NOT NULL,
    PRIMARY KEY ("symbol", "input", "moment", "session")
);
CREATE INDEX ON "quality_summaries" USING brin ("moment") WITH (autosummarize = on);
