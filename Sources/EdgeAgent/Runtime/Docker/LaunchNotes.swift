import Synchronization
import WireFormat

/// What a backend has to say about a bot right now, for its status: how far an image has come, or that the engine is away.
final class LaunchNotes: Sendable {
    private let notes = Mutex<[String: String]>([:])
    /// Woken with each change.
    let changed = Signal()

    subscript(botID: String) -> String? {
        get { notes.withLock { $0[botID] } }
        set {
            let isNew = notes.withLock { notes in
                defer { notes[botID] = newValue }
                return notes[botID] != newValue
            }
            if isNew { changed.wake() }
        }
    }
}
