import Foundation
import Hummingbird

/// `/api/audit`, `/api/version`, and the two probes.
struct OperationsRoutes {
    let services: HubServices

    private struct AuditDocument: Encodable {
        let id: Int64
        let at: Date
        let actor: String
        let action: String
        let target: String
        let detail: String?

        init(_ entry: AuditEntry) {
            id = entry.position
            at = entry.at
            actor = entry.actor
            action = entry.action
            target = entry.target
            detail = entry.detail
        }
    }

    private struct VersionDocument: Encodable {
        let version: String
        let apiVersion: Int
        let nodeProtocol: Int
        let hubName: String
        let publicUrl: String
    }

    private struct Probe: Encodable {
        let status: String
        var checks: [String: String]?
    }

    func add(to routes: RoleGroups) {
        routes.admin.get("audit") { request, _ in
            let limit = try request.pageLimit()
            let rows = try await services.audit.list(before: try request.positionCursor(), limit: limit + 1)
            return try JSONCoding.response(
                Page(rows, limit: limit, cursor: { String($0.position) }, item: AuditDocument.init)
            )
        }
        routes.viewer.get("version") { _, _ in
            try JSONCoding.response(
                VersionDocument(
                    version: HubVersion.version,
                    apiVersion: HubVersion.api,
                    nodeProtocol: HubVersion.nodeProtocol,
                    hubName: services.site.hubName,
                    publicUrl: services.site.publicURL
                )
            )
        }
    }

    /// Probes need no token: they tell nothing but yes or no.
    func addPublic(to router: RouterGroup<HubRequestContext>) {
        router.get("healthz") { _, _ in
            try JSONCoding.response(Probe(status: "ok"))
        }
        router.get("readyz") { _, _ in
            do {
                _ = try await services.operators.list()
                return try JSONCoding.response(Probe(status: "ok", checks: ["database": "ok"]))
            } catch {
                return try JSONCoding.response(
                    Probe(status: "unavailable", checks: ["database": "unavailable"]),
                    status: .serviceUnavailable
                )
            }
        }
    }
}
