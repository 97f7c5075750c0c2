import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// `/api/audit`, `/api/version`, `/metrics`, and the two probes.
struct OperationsRoutes {
    let services: HubServices

    private struct AuditDocument: Codable, APIDocument {
        static let schemaName: String? = "AuditEntry"

        let id: Int64
        let at: Date
        let actor: String
        let action: String
        let target: String
        let detail: String?

        static var memberDetails: [String: Schema] {
            [
                "actor": Schema().described(
                    "The operator's name; `command-line` for the hub's machine, `hub` for itself."
                ),
                "target": Schema().described("The id of what was changed."),
            ]
        }

        init(_ entry: AuditEntry) {
            id = entry.position
            at = entry.at
            actor = entry.actor
            action = entry.action
            target = entry.target
            detail = entry.detail
        }
    }

    private struct VersionDocument: Codable, APIDocument {
        static let schemaName: String? = "Version"

        let version: String
        let apiVersion: Int
        let nodeProtocol: Int
        let hubName: String
        let publicUrl: String
    }

    private struct Probe: Codable, APIDocument {
        static let schemaName: String? = "Probe"

        let status: String
        var checks: [String: String]?
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/audit",
                .admin,
                .operations,
                "Who changed what and when, newest first.",
                parameters: [
                    .query("actor", .text, "Only what this operator did."),
                    .query("action", .text, "Only this, for example `node.revoke`."),
                    .query("target", .text, "Only what was done to this, by id."),
                    .query("since", .time, "Only what was done at this time or later."), .limit, .position,
                ],
                answers: [.json(Page<AuditDocument>.self)]
            ) { request, _ in
                let limit = try request.pageLimit()
                var filter = AuditStore.Filter()
                filter.before = try request.positionCursor()
                filter.actor = try request.text("actor")
                filter.action = try request.text("action")
                filter.target = try request.text("target")
                filter.since = try request.time("since")
                let found = try await services.audit.page(filter, limit: limit + 1)
                return try JSONCoding.response(
                    Page(found, limit: limit, cursor: \.position, item: AuditDocument.init)
                )
            },
            APIRoute(
                .get,
                "/api/version",
                .viewer,
                .operations,
                "What this hub is.",
                answers: [.json(VersionDocument.self)]
            ) { _, _ in
                try JSONCoding.response(
                    VersionDocument(
                        version: HubVersion.version,
                        apiVersion: HubVersion.api,
                        nodeProtocol: HubVersion.nodeProtocol,
                        hubName: services.site.hubName,
                        publicUrl: services.site.publicURL
                    )
                )
            },
            APIRoute(
                .get,
                "/metrics",
                .viewer,
                .operations,
                "Figures for Prometheus.",
                details: "Give Prometheus the token of a viewer (`authorization: {credentials_file: …}`).",
                answers: [.content("text/plain", "Prometheus's text format.")]
            ) { _, _ in
                JSONCoding.raw(
                    Data(try await HubMetrics(services: services).text().utf8),
                    status: .ok,
                    type: PrometheusText.mediaType
                )
            },
            // Probes need no token: they tell nothing but yes or no.
            APIRoute(.get, "/healthz", .anyone, .operations, "Whether the hub is up.", answers: [.json(Probe.self)]) {
                _,
                _ in
                try JSONCoding.response(Probe(status: "ok"))
            },
            APIRoute(
                .get,
                "/readyz",
                .anyone,
                .operations,
                "Whether the hub can serve.",
                answers: [
                    .json(Probe.self), .json(Probe.self, "It cannot.", status: .serviceUnavailable),
                ]
            ) { _, _ in
                do {
                    _ = try await services.operators.store.isEmpty()
                    try await services.operators.store.database.requireWritable()
                    return try JSONCoding.response(Probe(status: "ok", checks: ["database": "ok"]))
                } catch {
                    return try JSONCoding.response(
                        Probe(status: "unavailable", checks: ["database": "unavailable"]),
                        status: .serviceUnavailable
                    )
                }
            },
        ]
    }
}
