/// What a peer did wrong, and the close code that tells it so.
public struct ProtocolViolation: Error, Hashable, Sendable, CustomStringConvertible {
    /// The code for the Close frame that answers the violation.
    public let closeCode: CloseCode
    /// One line naming the violated rule; at most 123 bytes, so it fits a Close frame.
    public let reason: String

    /// Records a violation.
    public init(closeCode: CloseCode, reason: String) {
        self.closeCode = closeCode
        self.reason = reason
    }

    /// The reason with its code.
    public var description: String { "\(reason) (close code \(closeCode))" }
}
