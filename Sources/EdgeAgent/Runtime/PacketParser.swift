import WireFormat

/// The fields of a monitor packet that the agent itself looks at. Everything else stays in the packet's own bytes.
struct PacketFields: Sendable, Equatable {
    var type = ""
    var sequence: UInt64 = 0
    var timeUnixMilliseconds: UInt64 = 0
    var conversationID = ""
    var messageID = ""
    var turnID = ""
    /// Of `ready`: where the bot takes messages.
    var chatURL: String?
    var engine: String?
    var engineVersion: String?
    /// Of `fatal`: why.
    var error: String?
    /// Of `seq` and `ts`, those that are numbers outside 0 … 2^53. They count as absent.
    var outOfBounds: [String] = []
    /// Of texts that the hub takes only so long, those that were longer. They are cut as `WireBounds` says.
    var tooLong: [String] = []

    /// Reads a packet line without its prefix.
    ///
    /// - Returns: nil where the text is not one JSON object in UTF-8. A field of the wrong kind counts as absent; of
    ///   one that comes twice the last counts.
    init?(_ json: [UInt8]) {
        // What is passed on must be readable to the hub and its clients as well.
        guard String(validating: json, as: UTF8.self) != nil else { return nil }
        let isObject = JSONScanner.scanObject(json, isWanted: Self.isWanted) { take($0, $1) }
        guard isObject else { return nil }
    }

    private static func isWanted(_ name: String) -> Bool {
        switch name {
        case "type", "seq", "ts", "conversation_id", "message_id", "turn_id", "chat_url", "engine", "engine_version",
            "error":
            true
        default: false
        }
    }

    private mutating func take(_ name: String, _ value: JSONScanner.Value) {
        let text: String? = if case .text(let text) = value { text } else { nil }
        switch name {
        case "type": type = cut(text, name, to: WireBounds.wordBytes)
        case "seq": sequence = number(value, name)
        case "ts": timeUnixMilliseconds = number(value, name)
        case "conversation_id": conversationID = cut(text, name, to: WireBounds.identifierBytes)
        case "message_id": messageID = cut(text, name, to: WireBounds.identifierBytes)
        case "turn_id": turnID = cut(text, name, to: WireBounds.identifierBytes)
        case "chat_url": chatURL = text.map { cut($0, name, to: WireBounds.sentenceBytes) }
        case "engine": engine = text.map { cut($0, name, to: WireBounds.wordBytes) }
        case "engine_version": engineVersion = text.map { cut($0, name, to: WireBounds.wordBytes) }
        default: error = text.map { cut($0, name, to: WireBounds.sentenceBytes) }
        }
    }

    private mutating func cut(_ text: String?, _ name: String, to bytes: Int) -> String {
        // Of a name that comes twice the last counts, also in this.
        tooLong.removeAll { $0 == name }
        guard let text else { return "" }
        guard text.utf8.count > bytes else { return text }
        tooLong.append(name)
        return WireBounds.cut(text, to: bytes)
    }

    private mutating func number(_ value: JSONScanner.Value, _ name: String) -> UInt64 {
        // Of a name that comes twice the last counts, also in this.
        outOfBounds.removeAll { $0 == name }
        guard case .number(let text) = value else { return 0 }
        guard Defence.numberBounds.isUp else { return UInt64(text) ?? 0 }  // fits: text, which is nil where it does not
        if let exact = UInt64(decimal: text) { return exact }
        let bound = OutsideBounds.count.upperBound
        guard let real = Double(text), real >= 0, real <= Double(bound), text.contains(where: { "-.eE".contains($0) })
        else {
            outOfBounds.append(name)
            return 0
        }
        return UInt64(saturating: real)
    }

    /// Whether the bytes are one JSON object.
    static func isObject(_ json: [UInt8]) -> Bool { JSONScanner.isObject(json) }
}
