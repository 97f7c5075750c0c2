import Foundation
import Glibc

/// Everything `/metrics` tells, collected when it is asked for.
struct HubMetrics {
    let services: HubServices

    func text() async throws -> String {
        var out = PrometheusText()
        out.add("controlhub_build_info", .gauge, "What runs here; always 1.", [([("version", HubVersion.version)], 1)])
        addLive(&out)
        try await addStored(&out)
        addRequests(&out)
        addStrangers(&out)
        addProcess(&out)
        return out.text
    }

    private func addLive(_ out: inout PrometheusText) {
        let health = services.nodes.registry.countsByHealth()
        out.add(
            "controlhub_nodes",
            .gauge,
            "Nodes by health.",
            NodeHealthState.allCases.map { ([("health", $0.rawValue)], Double(health[$0] ?? 0)) }
        )
        out.add(
            "controlhub_nodes_connected",
            .gauge,
            "Nodes with an open session.",
            Double(services.nodes.registry.connectedCount)
        )
        out.add(
            "controlhub_heartbeats_total",
            .counter,
            "Heartbeats taken since the hub started.",
            Double(services.nodes.registry.heartbeatCount)
        )
        out.add(
            "controlhub_events_total",
            .counter,
            "Events published since the hub started.",
            Double(services.events.newest)
        )
        let held = services.nodes.registry.marks.totals
        out.add(
            "controlhub_intake_held_back_total",
            .counter,
            "What was refused, slowed down or cut of what nodes and bots sent, by what was done.",
            IntakeMarks.Kind.allCases.map { ([("code", $0.rawValue)], Double(held[$0] ?? 0)) }
        )
        out.add("controlhub_event_ring_bytes", .gauge, "What the kept events take.", Double(services.events.bytes))
        out.add("controlhub_event_streams", .gauge, "Open event and log streams.", Double(services.streams.count))
    }

    private func addStored(_ out: inout PrometheusText) async throws {
        let counts = try await MetricsStore(database: services.bots.database).counts()
        out.add(
            "controlhub_bots",
            .gauge,
            "Bots by the state they are wanted in.",
            counts.bots.sorted { $0.key < $1.key }.map { ([("desired_state", $0.key)], Double($0.value)) }
        )
        out.add(
            "controlhub_commands_open",
            .gauge,
            "Commands that have not ended, by state.",
            ["queued", "delivered", "running"].map { ([("state", $0)], Double(counts.commands[$0] ?? 0)) }
        )
        out.add(
            "controlhub_packets_stored_total",
            .counter,
            "Packets the hub has ever stored.",
            Double(counts.packets)
        )
        // `try?`: a folder that cannot be read is told where snapshots are.
        if let strays = try? services.deployments.context.snapshots.strays.count() {
            out.add(
                "controlhub_snapshot_strays",
                .gauge,
                "Snapshot files that the database does not know and that are kept aside.",
                Double(strays)
            )
        }
        out.add("controlhub_operators", .gauge, "Operators.", Double(counts.operators))
        out.add("controlhub_database_size_bytes", .gauge, "Size of the hub's database.", Double(counts.databaseBytes))
    }

    private func addRequests(_ out: inout PrometheusText) {
        let series = services.metrics.all.sorted { ($0.key.route, $0.key.method) < ($1.key.route, $1.key.method) }
        out.add(
            "controlhub_http_requests_total",
            .counter,
            "Answered requests by route and class of status.",
            series.flatMap { call, series in
                series.statuses.sorted { $0.key < $1.key }.map { status, count in
                    ([("method", call.method), ("route", call.route), ("status", "\(status)xx")], Double(count))
                }
            }
        )
        out.add(
            "controlhub_http_request_duration_seconds",
            "Time to the head of the answer.",
            bounds: RequestMetrics.bounds,
            series.map { call, series in
                ([("method", call.method), ("route", call.route)], series.counts, series.sum)
            }
        )
    }

    private func addStrangers(_ out: inout PrometheusText) {
        let (strangers, known) = services.strangers.connections.counts
        out.add(
            "controlhub_connections",
            .gauge,
            "Open connections, of nodes and operators (known) and of everybody else (stranger).",
            [([("kind", "known")], Double(known)), ([("kind", "stranger")], Double(strangers))]
        )
        out.add(
            "controlhub_refusals_total",
            .counter,
            "Who was turned away since the hub started, by reason.",
            services.strangers.refusals.counts.map { ([("reason", $0.reason.rawValue)], Double($0.count)) }
        )
    }

    /// The names Prometheus's own client libraries use.
    private func addProcess(_ out: inout PrometheusText) {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return }
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        out.add(
            "process_cpu_seconds_total",
            .counter,
            "Processor time the hub has used.",
            seconds(usage.ru_utime) + seconds(usage.ru_stime)
        )
        if let statm = FileManager.default.contents(atPath: "/proc/self/statm"),
            let pages = String(decoding: statm, as: UTF8.self).split(separator: " ").dropFirst().first.flatMap({
                Double($0)
            })
        {
            out.add(
                "process_resident_memory_bytes",
                .gauge,
                "Memory the hub holds.",
                pages * Double(sysconf(Int32(_SC_PAGESIZE)))
            )
        }
        // `try?`: a system without /proc has no such figure.
        if let open = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count {
            out.add("process_open_fds", .gauge, "Open file descriptors.", Double(open))
        }
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            out.add("process_max_fds", .gauge, "The most file descriptors the hub may have.", Double(limit.rlim_cur))
        }
        out.add(
            "process_start_time_seconds",
            .gauge,
            "When the hub started, since 1970.",
            services.startedAt.timeIntervalSince1970
        )
    }
}
