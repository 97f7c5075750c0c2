extension ConnectionMachine {
    /// Which end this is.
    public enum Role: Hashable, Sendable {
        /// Masks what it sends.
        case client
        /// Expects what it receives to be masked, and ends the transport first.
        case server
    }

    /// What the caller is to do next.
    public enum Action: Hashable, Sendable {
        /// Write these bytes to the transport, after all earlier ones.
        case write([UInt8])
        /// Hand this message to the application.
        case deliver(WebSocketMessage)
        /// The outcome is known. Comes exactly once, after the last `deliver`.
        case closed(CloseStatus)
        /// Close the transport once everything given to `write` is out. Comes exactly once, last of all.
        case closeTransport
    }
}
