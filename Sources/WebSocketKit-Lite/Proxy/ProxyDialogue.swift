/// What is said to a proxy before a connection through it can be used: a machine without I/O.
///
/// It takes bytes however they are cut, never waits for more than its next message needs, and holds no more than that.
protocol ProxyDialogue: Sendable {
    /// What to send first.
    var opening: [UInt8] { get }

    /// Takes bytes from `input`; those it does not take belong to the connection.
    mutating func receive(_ input: inout ArraySlice<UInt8>) throws(ProxyFailure) -> ProxyStep
}

/// What comes next in a dialogue.
enum ProxyStep: Equatable, Sendable {
    case needsMore
    case send([UInt8])
    case established
}

/// Why a proxy does not let a connection through.
enum ProxyFailure: Error, Equatable, Sendable {
    /// It wants a login; `schemes` are those it names, none in SOCKS.
    case authenticationRequired(schemes: [String])
    /// It does not accept the login it was given.
    case authenticationRejected
    /// Its rules forbid this connection.
    case refused(String)
    /// It tried to connect and could not.
    case targetUnreachable(String)
    /// It cannot do what was asked.
    case unsupported(String)
    /// It does not speak the protocol.
    case malformed(String)
}
