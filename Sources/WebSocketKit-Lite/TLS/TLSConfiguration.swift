/// Whom to trust, and what to show when the server asks who we are.
///
/// With certificate authorities (the system's, `caFile`, `caPEM`) the chain, the dates and the host name are verified;
/// pins, if any, must match a key of the verified chain besides. Without any authority but with pins, the key of the
/// server's own certificate must be a pinned one and nothing else is asked: whoever proves to hold that key is the
/// server. There is no way to trust everybody.
public struct TLSConfiguration: Sendable {
    /// Trust what the operating system trusts.
    public var systemRoots = true
    /// A file of PEM certificates to trust besides.
    public var caFile: String?
    /// PEM certificates to trust besides.
    public var caPEM: String?
    /// SHA-256 digests of SubjectPublicKeyInfo, as 64 hexadecimal digits or in Base64, with or without "sha256/".
    public var pinSHA256: [String] = []
    /// The name to ask for and to verify instead of the URL's host.
    public var serverName: String?

    /// A file of PEM certificates, this side's own first and its chain after it, shown to servers that ask for one.
    public var clientCertificateFile: String?
    /// A PEM file with the unencrypted private key; nil when it stands in `clientCertificateFile`.
    public var clientKeyFile: String?

    /// Trusts what the operating system trusts.
    public init() {}
}
