import Foundation
import Hummingbird

/// A snapshot in JSON.
struct SnapshotDocument: Codable, APIDocument {
    static let schemaName: String? = "Snapshot"

    let id: String
    let botId: String
    let nodeId: String
    let deploymentId: String?
    let createdAt: Date
    let createdBy: String
    let entries: UInt64
    let totalBytes: UInt64
    let storedBytes: UInt64

    static var memberDetails: [String: Schema] {
        [
            "deployment_id": Schema().described("The deployment before which it was taken."),
            "total_bytes": Schema().described("Of the workspace."),
            "stored_bytes": Schema().described("Of the hub's disk."),
        ]
    }

    init(_ snapshot: Snapshot) {
        id = snapshot.id.rawValue
        botId = snapshot.bot.rawValue
        nodeId = snapshot.node.rawValue
        deploymentId = snapshot.deployment?.rawValue
        createdAt = snapshot.createdAt
        createdBy = snapshot.actor
        entries = snapshot.entries
        totalBytes = snapshot.totalBytes
        storedBytes = snapshot.storedBytes
    }
}

/// `/api/bots/{id}/snapshots`: copies of workspaces that the hub keeps where it is asked to.
struct SnapshotRoutes {
    let services: HubServices

    private struct ListDocument: Codable, APIDocument {
        static let schemaName: String? = "SnapshotList"

        let items: [SnapshotDocument]
        let kept: Int
        let ownKept: Int?

        static var memberDetails: [String: Schema] {
            [
                "kept": Schema().described("How many are kept of this bot; 0: none but one that was asked for."),
                "own_kept": Schema().described("The bot's own number; missing where the hub's holds."),
            ]
        }
    }

    private struct KeptBody: APIDocument {
        let kept: Int?

        static var memberDetails: [String: Schema] {
            [
                "kept": Schema.integer(0...Int64(clamping: SnapshotBounds.mostPerBot)).described(
                    "Null: as many as the hub's setting says."
                )
            ]
        }
    }

    private var snapshots: SnapshotOperations { services.deployments.context.snapshots }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/bots/{id}/snapshots",
                .viewer,
                .deployments,
                "The snapshots of the bot's workspace that the hub keeps, newest first.",
                answers: [.json(ListDocument.self)]
            ) { _, context in
                try JSONCoding.response(try await list(try context.botID()))
            },
            APIRoute(
                .post,
                "/api/bots/{id}/snapshots",
                .operator,
                .deployments,
                "Take a snapshot of the bot's workspace now; answered when it is taken, and given up when whoever asked hangs up.",
                answers: [.created(SnapshotDocument.self)],
                errors: [.nodeOffline, .agentTimeout, .conflict, .storageFull, .hubBusy, .deploymentRunning]
            ) { _, context in
                let bot = try await services.bots.store.bot(try context.botID())
                try await services.deployments.requireNone(of: bot.id)
                let actor = try context.actor()
                // It is of use to nobody who does not know of it, and its place is to others.
                let snapshot = try await context.whileClientWaits {
                    try await snapshots.take(bot.id, on: bot.nodeID, by: actor)
                }
                return try JSONCoding.response(SnapshotDocument(snapshot), status: .created)
            },
            APIRoute(
                .put,
                "/api/bots/{id}/snapshots/kept",
                .operator,
                .deployments,
                "How many snapshots are kept of this bot; with one or more, one is taken before every deployment.",
                body: .json(KeptBody.self),
                answers: [.json(ListDocument.self)]
            ) { request, context in
                let body = try await request.json(KeptBody.self)
                let id = try context.botID()
                try await snapshots.setKept(id, body.kept, by: try context.actor())
                return try JSONCoding.response(try await list(id))
            },
            APIRoute(
                .delete,
                "/api/snapshots/{id}",
                .operator,
                .deployments,
                "Give up a snapshot.",
                answers: [.noContent],
                errors: [.deploymentRunning]
            ) { _, context in
                try await snapshots.delete(
                    SnapshotID(rawValue: try context.part("id")),
                    by: try context.actor()
                )
                return Response(status: .noContent)
            },
        ]
    }

    private func list(_ id: BotID) async throws -> ListDocument {
        ListDocument(
            items: try await snapshots.store.list(id).map(SnapshotDocument.init),
            kept: try await snapshots.kept(id),
            ownKept: try await snapshots.store.kept(id)
        )
    }
}
