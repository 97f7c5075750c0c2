import FoundationEssentials

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

    /// Reads a packet line without its prefix.
    ///
    /// - Returns: nil where the text is not one JSON object. A field of the wrong kind counts as absent.
    init?(_ json: [UInt8]) {
        // The decoder passes over broken text in values that nobody asks for; the hub and its clients may not.
        guard json.first(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) == UInt8(ascii: "{"),
            String(validating: json, as: UTF8.self) != nil,
            let fields = try? JSONDecoder().decode(Tolerant.self, from: Data(json))
        else { return nil }
        self = fields.value
    }

    private struct Tolerant: Decodable {
        var value = PacketFields(empty: ())

        enum Key: String, CodingKey {
            case type
            case seq
            case ts
            case conversationID = "conversation_id"
            case messageID = "message_id"
            case turnID = "turn_id"
            case chatURL = "chat_url"
            case engine
            case engineVersion = "engine_version"
            case error
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: Key.self)
            // A wrong kind of value is as good as none: the packet is passed on as it is either way.
            func text(_ key: Key) -> String? { try? container.decodeIfPresent(String.self, forKey: key) }
            func number(_ key: Key) -> UInt64 {
                if let exact = try? container.decodeIfPresent(UInt64.self, forKey: key) { return exact }
                if let real = try? container.decodeIfPresent(Double.self, forKey: key), real >= 0, real < 1e18 {
                    return UInt64(real)
                }
                return 0
            }
            value.type = text(.type) ?? ""
            value.sequence = number(.seq)
            value.timeUnixMilliseconds = number(.ts)
            value.conversationID = text(.conversationID) ?? ""
            value.messageID = text(.messageID) ?? ""
            value.turnID = text(.turnID) ?? ""
            value.chatURL = text(.chatURL)
            value.engine = text(.engine)
            value.engineVersion = text(.engineVersion)
            value.error = text(.error)
        }
    }

    private init(empty: Void) {}

    /// Whether the bytes are one JSON object.
    static func isObject(_ json: [UInt8]) -> Bool {
        PacketFields(json) != nil
    }
}
