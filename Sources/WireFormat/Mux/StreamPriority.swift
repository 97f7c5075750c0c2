/// The sending order. A higher class goes first; within a class, streams take turns frame by frame.
///
/// The session itself (stream 0) and control frames go before every class.
public enum StreamPriority: Int, Sendable, CaseIterable, Comparable {
    /// Commands and their results.
    case commands
    /// Monitor packets and their acknowledgements.
    case packets
    /// Logs a person is looking at.
    case interactiveLogs
    /// Log backfill, workspace transfers.
    case bulk

    /// The smaller class is sent first: `.commands` is the smallest, `.bulk` the greatest.
    public static func < (left: StreamPriority, right: StreamPriority) -> Bool { left.rawValue < right.rawValue }
}
