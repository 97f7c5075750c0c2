/// How long texts and how many entries may be in each message of `node.proto`, whoever sends it.
///
/// They are applied to a message's bytes before it is decoded, so that neither what is kept of it nor what decoding it takes
/// can be more. Every field that holds text, bytes, a list, a map or another message stands here; `WireBoundsTests` reads
/// `node.proto` and fails for one that does not. docs/protocol.md lists the bounds for other implementations.
public enum WireBounds {
    /// Ends what was cut. No id ends so, thus a cut one is nobody's.
    public static let mark = "…"

    /// Names of bots, commands, journals, launches, conversations, turns: whoever made them.
    public static let identifierBytes = 200
    /// A packet's type, a code, a word.
    public static let wordBytes = 128
    /// A name of 64 characters, and what machines call themselves.
    public static let nameBytes = 256
    /// A few sentences for people.
    public static let sentenceBytes = 4 << 10
    /// A packet as the bot wrote it, and a line of its log.
    public static let packetBytes = 1 << 20

    /// The text, or its beginning and the mark where it has more bytes than this.
    public static func cut(_ text: String, to bytes: Int) -> String {
        text.utf8.count > bytes && Defence.textBounds.isUp
            ? text.clipped(toUTF8Bytes: bytes - mark.utf8.count) + mark : text
    }

    /// Bots a node may hold, or say something of in one message.
    public static let bots = 1024
    /// Bots that ever were on a node, in one message.
    public static let cursors = 65_536
    /// Capabilities a node may tell.
    public static let capabilities = 128
    /// Runtime profiles a node may offer.
    public static let profiles = 64

    /// Bounded by the message alone, which has 4 MiB: content of files, checked by who reads it.
    private static let content = 4 << 20
    /// A path has 16 KiB; a longer one stays too long when it is cut, and is refused by the workspace.
    private static let path = FieldBound.text(64 << 10)
    private static let id = FieldBound.text(identifierBytes)
    private static let word = FieldBound.text(wordBytes)
    private static let name = FieldBound.text(nameBytes)
    private static let sentence = FieldBound.text(sentenceBytes)
    /// What a policy file may hold.
    private static let rules = FieldBound.text(64 << 10)

    private static func bots(_ message: String) -> FieldBound { .list(bots, of: .message(message)) }

    /// By message and number of the field.
    static let messages: [String: [Int: FieldBound]] = [
        "SessionMessage": [
            1: .message("Hello"), 2: .message("Welcome"), 3: .message("Heartbeat"), 4: .message("HeartbeatAck"),
            5: .message("BotStatusReport"), 6: .message("Telemetry"), 7: .message("SessionSettings"),
        ],
        "Hello": [
            3: id, 4: id, 5: id, 6: id, 7: word, 8: word, 9: name, 10: word, 11: name, 12: name,
            14: .map(capabilities, key: wordBytes, value: nameBytes),
            15: .list(profiles, of: .message("RuntimeProfile")), 16: id, 17: bots("BotStatus"),
            19: .message("NodePolicy"), 20: bots("KeptWorkspace"), 21: id,
        ],
        "KeptWorkspace": [1: id],
        "NodePolicy": [1: sentence, 2: rules],
        "RuntimeProfile": [
            1: name, 2: word, 3: .text(1 << 10), 5: .text(1 << 10), 6: word, 7: word, 8: word,
            9: .message("ResourceLimits"), 10: .list(16, of: .message("StopStep")), 11: name, 16: .text(512), 18: name,
            19: name, 20: .list(32, of: .message("IsolationInForce")),
        ],
        "StopStep": [1: word],
        "ResourceLimits": [:],
        "Welcome": [
            2: id, 3: name, 9: word, 10: .message("Limits"),
            11: .list(cursors, of: .message("PacketCursor")), 12: .message("SessionSettings"), 20: bots("Supersession"),
        ],
        "Supersession": [1: id],
        "SessionSettings": [2: rules],
        "Limits": [:],
        "Heartbeat": [4: .message("NodeResources"), 6: bots("BotUsage")],
        "HeartbeatAck": [:],
        "NodeResources": [
            10: .list(128, of: .message("DiskUsage")), 14: .message("CpuTimes"),
            18: .list(128, of: .message("Temperature")), 21: .list(16, of: .message("NodeProblem")),
        ],
        "NodeProblem": [1: word, 2: .text(1 << 10)],
        "Temperature": [1: word],
        "CpuTimes": [:],
        "DiskUsage": [1: sentence, 2: name, 3: word],
        "BotUsage": [1: id, 12: word],
        "Telemetry": [1: .message("NodeResources"), 2: bots("BotUsage")],
        "BotStatus": [
            1: id, 3: sentence, 5: id, 8: .message("ExitStatus"), 10: name, 11: word,
            12: .list(16, of: .message("LimitInForce")), 13: word, 16: .list(32, of: .message("BotProblem")),
            18: .list(32, of: .message("IsolationInForce")),
        ],
        "BotProblem": [1: word, 3: .text(1 << 10)],
        "LimitInForce": [1: word, 3: word, 4: .text(1 << 10)],
        "IsolationInForce": [1: word, 2: word, 3: .text(1 << 10)],
        // 4 KiB of stderr, where each byte may be one that is no UTF-8 and is shown as three.
        "ExitStatus": [4: .text(12 << 10), 8: id],
        "BotStatusReport": [1: bots("BotStatus")],
        "BotSpecification": [
            1: id, 2: name, 3: name, 5: .text(1 << 20), 6: .map(1024, key: nameBytes, value: 64 << 10),
            7: .message("ResourceLimits"), 8: word, 18: .text(512),
        ],
        "StreamHeader": [
            1: .message("Command"), 2: .message("PacketStream"), 3: .message("LogRequest"),
            4: .message("WorkspaceRequest"),
            5: .message("SyncSource"), 6: .message("SyncTarget"),
        ],
        "Command": [
            1: id, 3: .message("StartBot"), 4: .message("StopBot"), 5: .message("DeliverMessage"),
            6: .message("RemoveBot"),
            7: .message("InstallWorkspace"), 8: .message("DiscardTransfer"), 11: .message("RotateToken"),
            12: .message("InspectNode"), 15: .message("MeasureWorkspace"), 16: .message("CheckLaunch"),
            17: .message("DescribeBot"),
        ],
        "CheckLaunch": [1: name, 2: .text(512)],
        "DescribeBot": [1: id],
        "MeasureWorkspace": [1: id],
        "WorkspaceSize": [:],
        "RotateToken": [1: .text(512)],
        "InspectNode": [:],
        "NodeReport": [
            4: .message("NodeResources"), 5: bots("BotUsage"), 6: .list(profiles, of: .message("RuntimeProfile")),
            7: .message("NodePolicy"), 8: .map(capabilities, key: wordBytes, value: nameBytes),
        ],
        "StartBot": [1: .message("BotSpecification")],
        "StopBot": [1: id, 4: .message("BotSpecification")],
        "RemoveBot": [1: id],
        "DeliverMessage": [1: id, 2: id, 3: id, 4: name, 5: .text(packetBytes)],
        "CommandResult": [
            1: id, 3: word, 4: sentence, 8: .message("BotStatus"), 9: id, 13: .message("NodeReport"),
            14: .message("BotSpecification"), 20: .message("WorkspaceSize"),
        ],
        "PacketStream": [1: id, 2: .list(cursors, of: .message("PacketCursor"))],
        // At most 2048 are under way.
        "PacketBatch": [1: .list(4096, of: .message("MonitorPacket"))],
        "MonitorPacket": [
            1: id, 3: id, 5: word, 6: id, 7: id, 8: id, 11: .text(packetBytes), 12: .message("PacketGap"),
        ],
        "PacketGap": [1: word],
        "PacketCursor": [1: id],
        "PacketAck": [1: bots("PacketCursor"), 2: bots("PacketHold")],
        "PacketHold": [1: id],
        "LogRequest": [1: id],
        "LogChunk": [1: .list(65_536, of: .message("LogLine"))],
        "LogLine": [4: .text(packetBytes + 1024)],
        "WorkspaceRequest": [
            1: id, 2: path, 3: .message("ListDirectory"), 4: .message("ReadFile"), 5: .message("WriteFile"),
            6: .message("RemoveEntry"), 7: .message("MakeDirectory"), 8: .message("StatEntry"),
            9: .list(64, of: .text(512)),
        ],
        "ListDirectory": [1: path],
        "WorkspaceEntry": [1: path, 6: name, 7: path],
        "WorkspacePart": [
            1: .message("WorkspaceFailure"), 2: .message("WorkspaceEntry"), 3: .message("WorkspaceListing"),
            4: .message("WorkspaceData"), 5: .message("WorkspaceWritten"),
        ],
        "WorkspaceListing": [1: .list(2000, of: .message("WorkspaceEntry"))],
        "WorkspaceData": [2: .text(content), 3: word],
        "WorkspaceFailure": [1: word, 2: sentence],
        "SyncSource": [1: id, 2: id],
        "SyncTarget": [1: id, 2: id],
        "SyncMessage": [
            1: .message("SyncDeflated"), 2: .message("SyncManifest"), 3: .message("SyncData"), 4: .message("SyncEnd"),
            5: .message("SyncWants"), 6: .message("SyncSignature"), 7: .message("SyncFailure"),
            8: .message("SyncProgress"), 9: .message("SyncReport"),
        ],
        "SyncDeflated": [2: .text(content)],
        "SyncManifest": [
            1: .list(65_536, of: .message("SyncEntry")), 2: .list(65_536, of: .message("SyncSkipped")),
        ],
        "SyncEntry": [1: path, 6: word, 7: path],
        "SyncSkipped": [1: path, 2: sentence],
        "SyncWants": [1: .numbers],
        "SyncSignature": [4: .text(content)],
        "SyncData": [1: .list(65_536, of: .message("SyncPart"))],
        "SyncPart": [2: .text(content), 4: .message("SyncCopy"), 6: .message("SyncFileEnd")],
        "SyncFileEnd": [5: word],
        "SyncEnd": [1: word],
        "SyncFailure": [1: word, 2: sentence],
        "SyncReport": [
            1: word, 12: .list(4096, of: .message("SyncSkipped")), 13: .list(4096, of: .message("SyncChange")),
        ],
        "SyncChange": [1: path],
        "InstallWorkspace": [1: id, 2: id, 3: word],
        "DiscardTransfer": [1: id, 2: id],
    ]

    /// The same, with each message's bounds joined to those of the messages in it. None holds itself.
    static let graph: [String: MessageBounds] = {
        var made: [String: MessageBounds] = [:]
        func make(_ name: String) -> MessageBounds {
            if let known = made[name] { return known }
            // A message without a row holds numbers alone.
            let bounds = MessageBounds(name: name, messages[name] ?? [:], messages: make)
            made[name] = bounds
            return bounds
        }
        for name in messages.keys { _ = make(name) }
        return made
    }()
}
