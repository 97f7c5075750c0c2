/// In which order a link sends what waits.
public enum SendingOrder: Sendable, Equatable {
    /// The session first, then by `StreamPriority`; streams of one class take turns frame by frame.
    case byPriority
    /// Everything but the answers owed to the peer leaves in the order it was queued, message by message. Only for
    /// measuring what the priorities are worth.
    case firstComeFirstServed
}
