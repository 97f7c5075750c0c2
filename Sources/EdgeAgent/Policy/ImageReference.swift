/// A container image's name, taken apart the way Docker does: `[registry/]path[:tag][@algorithm:digest]`.
///
/// Two names of one image compare equal: `busybox`, `library/busybox` and `docker.io/library/busybox:latest` are the
/// same. What does not follow the grammar is no name at all, so nothing odd reaches the engine.
struct ImageReference: Sendable, Equatable {
    /// Host, with port where given; `docker.io` where the name has none.
    let registry: String
    /// Lower-case path below the registry.
    let path: String
    /// `latest` where neither tag nor digest is given.
    let tag: String?
    let digest: String?

    /// Nil for what is no image name.
    init?(_ text: String) {
        guard let parts = Self.split(text), Self.isPath(parts.path) else { return nil }
        if let tag = parts.tag, !Self.isTag(tag) { return nil }
        if let digest = parts.digest, !Self.isDigest(digest) { return nil }
        registry = parts.registry
        path = parts.path
        digest = parts.digest
        tag = parts.tag ?? (parts.digest == nil ? "latest" : nil)
    }

    /// The parts as they stand, not checked.
    static func split(_ text: String) -> (registry: String, path: String, tag: String?, digest: String?)? {
        guard !text.isEmpty, text.utf8.count <= 512 else { return nil }
        var rest = text[...]
        var digest: String?
        if let at = rest.firstIndex(of: "@") {
            digest = String(rest[rest.index(after: at)...])
            rest = rest[..<at]
        }
        var tag: String?
        if let colon = rest.lastIndex(of: ":"), !rest[colon...].contains("/") {
            tag = String(rest[rest.index(after: colon)...])
            rest = rest[..<colon]
        }
        var registry = "docker.io"
        if let slash = rest.firstIndex(of: "/"), Self.isRegistry(rest[..<slash]) {
            registry = rest[..<slash].lowercased()
            rest = rest[rest.index(after: slash)...]
        }
        if registry == "index.docker.io" { registry = "docker.io" }
        if registry == "docker.io", !rest.contains("/"), rest != "*" {
            return (registry, "library/\(rest)", tag, digest)
        }
        return (registry, String(rest), tag, digest)
    }

    /// The first part names a registry only where it looks like a host: it has a dot or a port, or is `localhost`.
    private static func isRegistry(_ text: Substring) -> Bool {
        guard text == "localhost" || text.contains(".") || text.contains(":") else { return false }
        return text.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x2E || $0 == 0x2D || $0 == 0x3A }
    }

    static func isPath(_ text: String) -> Bool {
        guard !text.isEmpty, text.utf8.count <= 255 else { return false }
        return text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
            guard let first = part.utf8.first, let last = part.utf8.last else { return false }
            let isLower = { (byte: UInt8) in isAlphanumeric(byte) && !(0x41...0x5A).contains(byte) }
            return isLower(first) && isLower(last)
                && part.utf8.allSatisfy { isLower($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D }
                && !part.contains("..")
        }
    }

    private static func isTag(_ text: String) -> Bool {
        guard let first = text.utf8.first, text.utf8.count <= 128 else { return false }
        return (isAlphanumeric(first) || first == 0x5F)
            && text.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x5F || $0 == 0x2E || $0 == 0x2D }
    }

    private static func isDigest(_ text: String) -> Bool {
        guard text.hasPrefix("sha256:") else { return false }
        let digits = text.utf8.dropFirst(7)
        return digits.count == 64
            && digits.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
}

/// Images that a policy allows.
///
/// `ghcr.io/me/bot` is every tag and digest of that repository, `ghcr.io/me/bot:1.2` that tag alone (but not with a
/// digest of the hub's choice beside it), `ghcr.io/me/bot@sha256:…` that very image, `ghcr.io/me/*` every repository
/// below.
struct ImageRule: Sendable, Equatable {
    let text: String
    private let registry: String
    private let path: String
    private let isFolder: Bool
    private let tag: String?
    private let digest: String?

    /// - Throws: `PolicyRefusal` with the rule `images` where the text is no such pattern.
    init(_ text: String) throws(PolicyRefusal) {
        let broken = PolicyRefusal(
            rule: "images",
            message: "\"\(text)\" in the policy names no image; write registry/path, registry/path:tag, "
                + "registry/path@sha256:… or registry/path/*"
        )
        guard let parts = ImageReference.split(text) else { throw broken }
        isFolder = parts.path == "*" || parts.path.hasSuffix("/*")
        path = isFolder ? String(parts.path.dropLast(parts.path == "*" ? 1 : 2)) : parts.path
        guard path.isEmpty ? isFolder : ImageReference.isPath(path) else { throw broken }
        // Whatever it holds beyond the pattern must make a proper name.
        guard isFolder ? parts.tag == nil && parts.digest == nil : ImageReference(text) != nil else { throw broken }
        self.text = text
        registry = parts.registry
        tag = parts.tag
        digest = parts.digest
    }

    func allows(_ image: ImageReference) -> Bool {
        guard image.registry == registry else { return false }
        if isFolder { return path.isEmpty || image.path.hasPrefix(path + "/") }
        guard image.path == path else { return false }
        if let digest { return image.digest == digest }
        if let tag { return image.tag == tag && image.digest == nil }
        return true
    }
}
