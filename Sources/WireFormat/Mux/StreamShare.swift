/// What a stream is opened for, and how many of a session's streams may be open for that at once. So none of the uses leaves nothing
/// to the others, and what has no share, as commands, always finds a stream.
public struct StreamShare: Sendable, Equatable {
    /// For errors: "… are open".
    public let name: String
    /// As many may be open at once.
    public let maxStreams: Int

    /// A share of so many streams.
    public init(_ name: String, maxStreams: Int) {
        self.name = name
        self.maxStreams = maxStreams
    }

    /// Logs that are followed, by readers and for the hub's copies.
    public static let followedLogs = StreamShare("followed logs", maxStreams: 128)
    /// Logs that are read to their end.
    public static let logPages = StreamShare("pages of logs", maxStreams: 32)
    /// Questions about a workspace's entries, and small changes of them.
    public static let entries = StreamShare("questions about files", maxStreams: 16)
    /// Files on their way to or from an operator.
    public static let files = StreamShare("files on their way", maxStreams: 16)
    /// Workspaces on their way, for moves and snapshots.
    public static let transfers = StreamShare("workspaces on their way", maxStreams: 16)
}
