/// Where the records of one kind are, and which of them may go.
struct RetentionTable: Sendable {
    let name: String
    /// Whose a row is; an expression that an index begins with.
    let owner: String
    /// What rows of one owner are in order of age by; the index goes on with it.
    let order: String
    /// What tells a row from all others of its owner.
    let key: String
    /// When it was made, in milliseconds since 1970.
    let time: String
    /// True of rows that nothing needs any more. `:now` is the horizon of the hub's clock.
    let removable: String
    /// What else is to be known of a row that goes.
    var extras: [String] = []

    /// A turn that has waited so long for its answer is not kept for it.
    static let longestTurn = Duration.seconds(7 * 86_400)
    /// With these a bot is rolled back.
    static let deploymentsKept = 10

    static func of(_ kind: RetentionKind) -> RetentionTable {
        switch kind {
        case .packets:
            RetentionTable(
                name: "packets",
                owner: "bot_id",
                order: "position",
                key: "position",
                time: "stored_at",
                removable: "1",
                extras: ["journal_id", "sequence", "conversation_id", "log_offset"]
            )
        case .messages:
            RetentionTable(
                name: "messages",
                owner: "bot_id",
                order: "position",
                key: "position",
                time: "created_at",
                removable: """
                    (state IN ('answered', 'failed', 'interrupted')
                        OR (state = 'delivered' AND delivered_at < :now - \(longestTurn.milliseconds)))
                    """,
                extras: ["conversation_id"]
            )
        case .commands:
            RetentionTable(
                name: "commands",
                owner: "coalesce(bot_id, node_id)",
                order: "position",
                key: "position",
                time: "created_at",
                removable: """
                    (state NOT IN ('queued', 'delivered', 'running')
                        AND NOT EXISTS (SELECT 1 FROM strays s WHERE s.command_id = commands.id))
                    """
            )
        case .audit:
            RetentionTable(
                name: "audit",
                owner: "actor",
                order: "position",
                key: "position",
                time: "at",
                removable: "1"
            )
        case .answers:
            RetentionTable(
                name: "idempotency_keys",
                owner: "operator_id",
                order: "created_at",
                key: "key",
                time: "created_at",
                // What is being carried out is still to be answered.
                removable: "(status IS NOT NULL OR created_at < :now - \(IdempotencyStore.abandonedAfterMilliseconds))"
            )
        case .deployments:
            RetentionTable(
                name: "deployments",
                owner: "bot_id",
                order: "id",
                key: "id",
                time: "created_at",
                removable: """
                    (state NOT IN ('running', 'returning') AND id NOT IN (SELECT d.id FROM deployments d
                        WHERE d.bot_id = deployments.bot_id ORDER BY d.id DESC LIMIT \(deploymentsKept)))
                    """
            )
        case .enrollments:
            RetentionTable(
                name: "enrollments",
                owner: "created_by",
                order: "id",
                key: "id",
                time: "created_at",
                removable: "(expires_at < :now)"
            )
        }
    }
}

/// Why a table cannot grow without end.
enum TableBound: Sendable {
    /// A rule of `RetentionTable`.
    case kept(RetentionKind)
    /// Looked through by `RetentionSweep`.
    case swept(String)
    case bounded(String)

    /// Every table there is; a test finds one that is missing.
    static let all: [String: TableBound] = [
        "packets": .kept(.packets),
        "messages": .kept(.messages),
        "commands": .kept(.commands),
        "audit": .kept(.audit),
        "idempotency_keys": .kept(.answers),
        "deployments": .kept(.deployments),
        "enrollments": .kept(.enrollments),
        "conversations": .bounded("goes with the last message and packet of it"),
        "bots": .swept("made by operators; a deleted one's row goes after 400 days"),
        "nodes": .bounded("made by operators and their codes, and deleted by them"),
        "operators": .bounded("made and deleted by administrators"),
        "operator_tokens": .swept("100 tokens and 20 sessions of an operator; what has expired goes"),
        "node_tokens": .swept("of those withdrawn, the newest 20 of a node stay"),
        "enrollment_attempts": .bounded("20 of a code, and 100 of unknown ones"),
        "packet_cursors": .swept("one of a journal and a bot; one that was not moved for 400 days goes"),
        "resource_samples": .bounded("about 1,540 of a node: an hour, two days and thirty, each coarser"),
        "strays": .swept(
            "one of a node and a bot; goes when it is removed there, or the node no longer names a bot that is unknown"
        ),
        "snapshots": .bounded("so many of each bot, so many bytes in all, and by age where that is set"),
        "log_places": .swept("the newest 100 of a bot"),
        "retention_usage": .swept("one of an owner; goes with the last record"),
        "retention_removals": .swept("400 days, 100,000 at most"),
        "retention_marks": .swept("one of a bot; goes with it"),
        "hub_state": .bounded("a handful of keys"),
        "grdb_migrations": .bounded("one of each step of the schema"),
        "sqlite_sequence": .bounded("one of each table"),
    ]
}
