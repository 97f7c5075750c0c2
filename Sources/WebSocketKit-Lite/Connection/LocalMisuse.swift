/// A call our own side should not have made. Nothing a peer does leads here.
public enum LocalMisuse: Error, Hashable, Sendable, CustomStringConvertible {
    /// The connection is closing or closed.
    case notOpen
    /// The code is reserved and may not be sent.
    case invalidCloseCode(CloseCode)
    /// The reason does not fit a Close frame (123 bytes of UTF-8).
    case closeReasonTooLong
    /// A header's name or value holds characters HTTP does not allow.
    case invalidHeader(name: String)

    /// One line for people.
    public var description: String {
        switch self {
        case .notOpen: "the connection is closing or closed; nothing more can be sent on it"
        case .invalidCloseCode(let code): "close code \(code) may not be sent"
        case .closeReasonTooLong: "a close reason is at most \(CloseFrame.maxReasonBytes) bytes of UTF-8"
        case .invalidHeader(let name): "header \(name.debugDescription) is not allowed in HTTP"
        }
    }
}
