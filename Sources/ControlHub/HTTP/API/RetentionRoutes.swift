import Foundation
import Hummingbird
import WireFormat

/// `/api/retention`: how much is kept, of whom, and what was removed.
struct RetentionRoutes {
    let services: HubServices

    private struct StatusDocument: Codable, APIDocument {
        static let schemaName: String? = "Retention"

        struct Limits: Codable, Sendable {
            let ageSeconds: Int64?
            let rows: Int64?
            let bytes: Int64?
            let ownerRows: Int64?
            let ownerBytes: Int64?
            let nodeRows: Int64?
            let nodeBytes: Int64?
        }

        struct Kind: Codable, APIDocument {
            let kind: String
            let rows: Int64
            let bytes: Int64
            let owner: String
            let limits: Limits

            static var memberDetails: [String: Schema] {
                [
                    "bytes": Schema().described("Of the database's file, indexes included; counted, not measured."),
                    "owner": Schema().described("Whose share `owner_rows` and `owner_bytes` limit."),
                ]
            }
        }

        struct Deletion: Codable, Sendable {
            let id: String
            let since: Date
        }

        let databaseBytes: Int64
        let freeBytes: Int64
        let logBytes: Int64
        let shrinks: Bool
        let kinds: [Kind]
        let deletions: [Deletion]
        let lastRoundAt: Date?
        let longestTurnMs: Double

        static var memberDetails: [String: Schema] {
            [
                "database_bytes": Schema().described("Of the database's file."),
                "free_bytes": Schema().described(
                    "Of them, those that hold nothing; some are kept for what comes next."
                ),
                "log_bytes": Schema().described("Of the write-ahead log beside it."),
                "shrinks": Schema().described("False until `control-hub compact` has copied an old database once."),
                "deletions": Schema().described("Bots and nodes whose records are still being removed, oldest first."),
                "longest_turn_ms": Schema().described(
                    "For so long at most one removal has kept others from writing since the hub began."
                ),
            ]
        }

        init(_ status: RetentionStatus, _ settings: RetentionSettings) {
            databaseBytes = status.space.bytes
            freeBytes = status.space.freeBytes
            logBytes = status.space.logBytes
            shrinks = status.space.isShrinking
            kinds = status.usages.map { usage in
                let limits = settings[usage.kind]
                return Kind(
                    kind: usage.kind.rawValue,
                    rows: usage.rows,
                    bytes: usage.bytes,
                    owner: usage.kind.ownerWord,
                    limits: Limits(
                        ageSeconds: limits.age.map { $0.milliseconds / 1000 },
                        rows: limits.rows,
                        bytes: limits.bytes,
                        ownerRows: limits.ownerRows,
                        ownerBytes: limits.ownerBytes,
                        nodeRows: limits.nodeRows,
                        nodeBytes: limits.nodeBytes
                    )
                )
            }
            deletions = status.deletions.map { Deletion(id: $0.subject.id, since: $0.since) }
            lastRoundAt = status.lastRoundAt
            longestTurnMs = status.longestTurn.seconds * 1000
        }
    }

    private struct UsageDocument: Codable, APIDocument {
        static let schemaName: String? = "RetentionUsage"

        struct Item: Codable, Sendable {
            let owner: String
            let nodeId: String?
            let rows: Int64
            let bytes: Int64
        }

        let kind: String
        let items: [Item]
    }

    private struct RemovalDocument: Codable, APIDocument {
        static let schemaName: String? = "RetentionRemoval"

        let day: Date
        let kind: String
        let owner: String
        let reason: RetentionReason?
        let rows: Int64
        let bytes: Int64
        let firstAt: Date
        let lastAt: Date

        static var memberDetails: [String: Schema] {
            [
                "day": Schema().described("When they were removed: the beginning of the day, UTC."),
                "owner": Schema().described("The bot, node, operator or actor whose records they were."),
                "reason": Schema().described(
                    "The limit they were beyond; `deleted` where the bot or node they belonged to was deleted."
                ),
                "first_at": Schema().described("Of the oldest record among them."),
                "last_at": Schema().described("Of the newest record among them."),
            ]
        }

        init(_ removal: Removal) {
            day = removal.date
            kind = removal.kind
            owner = removal.owner
            reason = RetentionReason(rawValue: removal.reason)
            rows = removal.rows
            bytes = removal.bytes
            firstAt = removal.firstAt
            lastAt = removal.lastAt
        }
    }

    private enum Kinds: String, CaseIterable, Sendable {
        case packets, messages, commands, audit, answers, deployments, enrollments
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .get,
                "/api/retention",
                .viewer,
                .operations,
                "How much the hub keeps of what grows, and within which limits.",
                answers: [.json(StatusDocument.self)]
            ) { _, _ in
                try JSONCoding.response(
                    StatusDocument(try await services.retention.status(), services.retention.settings)
                )
            },
            APIRoute(
                .get,
                "/api/retention/usage",
                .admin,
                .operations,
                "Who has how much of one kind of record, the largest shares first.",
                parameters: [
                    .query("kind", .words(of: Kinds.self), "Packets unless given."),
                    .limit,
                ],
                answers: [.json(UsageDocument.self)]
            ) { request, _ in
                let kind = RetentionKind(rawValue: try request.word("kind", of: Kinds.self)?.rawValue ?? "") ?? .packets
                let usages = try await services.retention.store.usages(kind).prefix(try request.pageLimit())
                return try JSONCoding.response(
                    UsageDocument(
                        kind: kind.rawValue,
                        items: usages.map {
                            UsageDocument.Item(owner: $0.owner, nodeId: $0.node, rows: $0.rows, bytes: $0.bytes)
                        }
                    )
                )
            },
            APIRoute(
                .get,
                "/api/retention/removals",
                .admin,
                .operations,
                "What was removed, newest day first.",
                details: "Goes back 400 days.",
                parameters: [
                    .query("kind", .text, "Only this kind of record."),
                    .query("owner", .text, "Only those of this bot, node, operator or actor."),
                    .limit, .cursor,
                ],
                answers: [.json(Page<RemovalDocument>.self)],
                handler: removals
            ),
        ]
    }

    @Sendable
    private func removals(_ request: Request, _ context: HubRequestContext) async throws -> Response {
        let limit = try request.pageLimit()
        var filter = RemovalStore.Filter()
        filter.kind = try request.text("kind")
        filter.owner = try request.text("owner")
        filter.after = try request.cursor(RemovalCursor.removal)
        let rows = try await services.retention.removals.list(filter, limit: limit + 1)
        return try JSONCoding.response(
            Page(rows, limit: limit, cursor: RemovalCursor.text, item: RemovalDocument.init)
        )
    }
}

/// Where a page of removals ends, as text that nobody needs to understand.
enum RemovalCursor {
    static func text(_ removal: Removal) -> String {
        let parts = [String(removal.day), removal.kind, removal.reason, removal.owner]
        return Data(parts.joined(separator: "\n").utf8).base64EncodedString()
            .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    static func removal(_ text: String) -> Removal? {
        var base64 = text.replacing("-", with: "+").replacing("_", with: "/")
        while !base64.count.isMultiple(of: 4) { base64 += "=" }
        guard let data = Data(base64Encoded: base64) else { return nil }
        // An owner may hold any text.
        let parts = String(decoding: data, as: UTF8.self)
            .split(separator: "\n", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4, let day = Int64(decimal: parts[0]) else { return nil }
        let never = Date(unixMilliseconds: 0)
        return Removal(
            day: day,
            kind: String(parts[1]),
            owner: String(parts[3]),
            reason: String(parts[2]),
            rows: 0,
            bytes: 0,
            firstAt: never,
            lastAt: never
        )
    }
}
