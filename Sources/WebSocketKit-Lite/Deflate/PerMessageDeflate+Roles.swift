extension PerMessageDeflate.Agreement {
    /// What compresses the messages this side sends.
    func deflater(for role: ConnectionMachine.Role) -> Deflater {
        Deflater(
            windowBits: role == .client ? clientMaxWindowBits : serverMaxWindowBits,
            takesOver: role == .client ? !clientNoContextTakeover : !serverNoContextTakeover,
            level: compressionLevel,
            minimumBytes: minimumBytes
        )
    }

    /// What inflates the messages the peer sends.
    func inflater(for role: ConnectionMachine.Role) -> Inflater {
        Inflater(
            windowBits: role == .client ? serverMaxWindowBits : clientMaxWindowBits,
            takesOver: role == .client ? !serverNoContextTakeover : !clientNoContextTakeover
        )
    }
}
