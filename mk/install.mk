# make install DESTDIR= PREFIX= LIBDIR= MANDIR=
.PHONY: install uninstall-list
INSTALL ?= install
BINDIR  ?= $(PREFIX)/bin
INCDIR  ?= $(PREFIX)/include/nstate
SHAREDIR ?= $(PREFIX)/share
PUBLIC_HEADERS := layouts/vmcs.h layouts/vmcs_fields.def layouts/layouts.h \
	layouts/error.h layouts/snapshot.h layouts/decode.h \
	layouts/identify.h layouts/layout_file.h layouts/extract.h \
	convert/container.h \
	convert/snapshot.h convert/remap.h convert/compare.h convert/load.h \
	convert/kvm_state.h hvcore/hvcore.h
MAN_PAGES = $(wildcard man/*.[1-9])

install: all
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig
	$(INSTALL) $(BUILD)/nstate $(DESTDIR)$(BINDIR)/nstate
	$(INSTALL) -m 644 $(LIBS) $(SHLIBS) $(DESTDIR)$(LIBDIR)
	ln -sf libnstate.so.0 $(DESTDIR)$(LIBDIR)/libnstate.so
	ln -sf libhvcore.so.0 $(DESTDIR)$(LIBDIR)/libhvcore.so
	for h in $(wildcard $(PUBLIC_HEADERS)); do \
		$(INSTALL) -D -m 644 $$h $(DESTDIR)$(INCDIR)/$$h || exit 1; done
	for l in nstate hvcore; do \
		sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' \
		    -e 's|@INCDIR@|$(INCDIR)|g' -e 's|@VERSION@|$(VERSION)|g' \
		    -e "s|@LIBS@|$(PKGLIBS)|g" \
		    mk/$$l.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/$$l.pc || exit 1; \
	done
	for m in $(MAN_PAGES); do \
		$(INSTALL) -D -m 644 $$m \
		$(DESTDIR)$(MANDIR)/man$${m##*.}/$${m##*/} || exit 1; done
	$(INSTALL) -d $(DESTDIR)$(SHAREDIR)/nstate/schemas
	$(INSTALL) -m 644 $(wildcard docs/schemas/*.json) \
		$(DESTDIR)$(SHAREDIR)/nstate/schemas
	if [ -f completions/nstate.bash ]; then \
	$(INSTALL) -D -m 644 completions/nstate.bash \
		$(DESTDIR)$(SHAREDIR)/bash-completion/completions/nstate; \
	$(INSTALL) -D -m 644 completions/_nstate \
		$(DESTDIR)$(SHAREDIR)/zsh/site-functions/_nstate; \
	$(INSTALL) -D -m 644 completions/nstate.fish \
		$(DESTDIR)$(SHAREDIR)/fish/vendor_completions.d/nstate.fish; fi
